"""At kinks, ties and infinities the server's values and gradients are PyTorch's, measured here and now."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.conformance.compare import difference
from tests.conformance.interpreter import run
from tests.conformance.kinks import CORRECTIONS, KINKS, Correction, Kink
from tests.conformance.server import Gradd
from tests.conformance.tally import NOT_OFFERED
from tests.conformance.wire import read_tensor, write_tensor

pytestmark = [pytest.mark.conformance, pytest.mark.filterwarnings("ignore")]


def _request(kink: Kink) -> dict[str, Any]:
    """Return the request for the kink's values and gradients, the seeds being ones."""
    request: dict[str, Any] = {"graph": kink.graph(), "outputs": kink.names}
    values = run(request).outputs
    roots = [kink.names[place] for place in kink.differentiated]
    seeds = {name: write_tensor(torch.ones_like(values[name]), "nested", torch.float64) for name in roots}
    return request | {"backward": seeds}


def _answered(gradd: Gradd, request: dict[str, Any]) -> dict[str, Any]:
    answer = gradd.post("/v1/gradients", request)
    codes = {error["code"] for error in answer.body.get("errors", [])}
    if codes and all(code.endswith(NOT_OFFERED) for code in codes):
        pytest.skip(f"refused: {codes}")
    assert answer.status == 200, answer.body
    body: dict[str, Any] = answer.body
    return body


@pytest.mark.parametrize(("op", "kink"), [pytest.param(k.op, k, id=f"{k.op}-{i}") for i, k in enumerate(KINKS)])
def test_a_kink_has_pytorchs_gradient(op: str, kink: Kink, gradd: Gradd) -> None:
    request = _request(kink)
    reply, wanted = _answered(gradd, request), run(request)
    for section, expected in (("outputs", wanted.outputs), ("gradients", wanted.gradients)):
        for name, tensor in expected.items():
            found = reply[section][name]
            problem = difference(None if found is None else read_tensor(found, torch.float64), tensor)
            assert problem is None, f"{section} {name}: {problem}\n{request}\n{found}\n{tensor}"


@pytest.mark.parametrize(
    ("op", "correction"), [pytest.param(c.kink.op, c, id=f"{c.kink.op}-{i}") for i, c in enumerate(CORRECTIONS)]
)
def test_a_right_gradient_where_pytorchs_is_not(op: str, correction: Correction, gradd: Gradd) -> None:
    reply = _answered(gradd, _request(correction.kink))
    leaf = next(iter(correction.kink.tensors))
    assert torch.allclose(
        read_tensor(reply["gradients"][leaf], torch.float64), torch.tensor(correction.gradient, dtype=torch.float64)
    )


@pytest.mark.parametrize("correction", CORRECTIONS, ids=lambda correction: correction.kink.op)
def test_pytorch_still_needs_the_correction(correction: Correction) -> None:
    """A correction that PyTorch no longer needs is to be deleted."""
    gradient = next(iter(run(_request(correction.kink)).gradients.values()))
    assert difference(gradient, torch.tensor(correction.gradient, dtype=torch.float64))
