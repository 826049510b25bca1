"""Many requests: concurrent ones beside the same requests alone, and each error code many times.

REQUESTS and REJECTS are how many.
"""

from __future__ import annotations

import os

import pytest

from tests.promises.test_isolation import compare
from tests.promises.test_rejects import GROWTH_BYTES, measure

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(7200)]

REQUESTS = int(os.environ.get("REQUESTS", "10000"))
REJECTS = int(os.environ.get("REJECTS", "1000"))


def test_many_concurrent_requests_do_not_mix() -> None:
    compare(REQUESTS)


def test_many_refused_requests_leave_no_memory() -> None:
    assert measure(REJECTS) < GROWTH_BYTES
