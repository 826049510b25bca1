"""Every op that the server offers agrees with PyTorch, on PyTorch's own samples."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conformance.samples import ops
from tests.conformance.server import Gradd
from tests.conformance.tally import tally

pytestmark = [pytest.mark.conformance, pytest.mark.filterwarnings("ignore")]

SHOWN = 12
"""How many differences of an op are printed."""


@pytest.mark.parametrize("op", list(ops()))
def test_an_op_agrees_with_pytorch(op: str, gradd: Gradd, record_property: Callable[[str, object], None]) -> None:
    counts = tally(op, ops()[op], gradd.post)
    record_property("conformance", counts.to_json())
    if counts.failures:
        shown = "\n".join(counts.failures[:SHOWN])
        pytest.fail(f"{len(counts.failures)} differences from PyTorch:\n{shown}", pytrace=False)
    assert counts.passed or counts.skipped, f"no sample passes: refused are {dict(counts.refused)}"


def test_every_offered_op_has_samples(gradd: Gradd) -> None:
    untried = sorted(gradd.offered - set(ops()))
    assert not untried, f"neither PyTorch's list nor extra_samples.py tries {untried}"
