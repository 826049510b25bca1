"""Many random sequences of registrations, calls, deletions and restarts; SEQUENCES is how many."""

from __future__ import annotations

import os

import pytest

from tests.promises.test_registered_life import Life, compare, life

__all__ = ["life"]

SEQUENCES = int(os.environ.get("SEQUENCES", "100"))


@pytest.mark.fuzz
@pytest.mark.timeout(7200)
def test_the_server_is_its_model_for_long(life: Life) -> None:
    compare(life, SEQUENCES)
