"""The request builder proves itself without a server: for every sample of every op of PyTorch's list that the contract
can name, the request, run by the interpreter, gives what PyTorch gives when it is called directly.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from tests.conformance.cases import Case, cases
from tests.conformance.compare import difference
from tests.conformance.interpreter import run
from tests.conformance.outside import outside
from tests.conformance.samples import ops

pytestmark = [pytest.mark.conformance, pytest.mark.filterwarnings("ignore")]


NAMES = [name for name, entries in ops().items() if not outside(name) and entries[0].name == entries[0].entry]
"""Without aliases, whose requests differ in the name alone."""


@pytest.mark.parametrize("op", NAMES)
def test_a_request_says_what_the_sample_says(op: str) -> None:
    for entry in ops()[op]:
        dtype = torch.float64 if torch.float64 in entry.dtypes else torch.int64
        for case in cases(entry, dtype, reference_inputs=False):
            if isinstance(case, Case):
                assert _disagreement(case) is None, f"{case.label}: {json.dumps(case.request)[:2000]}"


def _disagreement(case: Case) -> str | None:
    """Return how the interpreted request differs from PyTorch called directly, or None."""
    reply = run(json.loads(json.dumps(case.request, allow_nan=False)))
    pairs: list[tuple[Any, Any]] = [
        (reply.outputs[name], output.detach())
        for name, output in zip(case.outputs, case.reference.outputs, strict=True)
    ]
    pairs += [
        (reply.gradients.get(name), gradient)
        for name, gradient in zip(case.names, case.reference.gradients, strict=True)
    ]
    return next((found for pair in pairs if (found := difference(*pair))), None)
