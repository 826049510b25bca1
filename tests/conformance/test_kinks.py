"""At kinks, ties and infinities the server's values, gradients and second derivatives are PyTorch's, measured here and
now, and mapped over they are those of a loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.conformance.compare import difference
from tests.conformance.interpreter import run
from tests.conformance.interpreter_derivatives import answer
from tests.conformance.kinks import CORRECTIONS, KINKS, SECOND_APART, Correction, Kink
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


BY_KINK = pytest.mark.parametrize(
    ("op", "kink"), [pytest.param(k.op, k, id=f"{k.op}-{i}") for i, k in enumerate(KINKS)]
)


@BY_KINK
def test_a_kink_has_pytorchs_gradient(op: str, kink: Kink, gradd: Gradd) -> None:
    request = _request(kink)
    reply, wanted = _answered(gradd, request), run(request)
    for section, expected in (("outputs", wanted.outputs), ("gradients", wanted.gradients)):
        for name, tensor in expected.items():
            found = reply[section][name]
            problem = difference(None if found is None else read_tensor(found, torch.float64), tensor)
            assert problem is None, f"{section} {name}: {problem}\n{request}\n{found}\n{tensor}"


def _second_request(kink: Kink) -> dict[str, Any]:
    """Return the request for second derivatives of the sum of all results, times a random direction."""
    graph = kink.graph()
    roots = [kink.names[place] for place in kink.differentiated]
    sums = [{"op": "sum", "inputs": [root], "output": f"sum_{root}"} for root in roots]
    total = {"op": "add", "inputs": [f"sum_{root}" for root in roots], "output": "total"}
    draw = torch.Generator().manual_seed(1)
    vectors = {
        name: write_tensor(torch.randn(shape, generator=draw, dtype=torch.float64), "nested", torch.float64)
        for name, shape in ((name, read_tensor(t, torch.float64).shape) for name, t in _moved(graph).items())
    }
    ops = [*graph["ops"], *sums, *([total] if len(roots) > 1 else [])]
    output = "total" if len(roots) > 1 else f"sum_{roots[0]}"
    return {"graph": graph | {"ops": ops}, "output": output, "vectors": vectors}


def _moved(graph: dict[str, Any]) -> dict[str, Any]:
    return {name: tensor for name, tensor in graph["tensors"].items() if tensor.get("requires_grad")}


def _second_differences(kink: Kink, gradd: Gradd) -> list[str]:
    request = _second_request(kink)
    reply = gradd.post("/v1/hvp", request)
    assert reply.status == 200, reply.body
    expected = answer("/v1/hvp", request)["hvp"]
    pairs = ((name, read_tensor(reply.body["hvp"][name], torch.float64), wanted) for name, wanted in expected.items())
    return [f"{name}: {found}\n{got}\n{wanted}" for name, got, wanted in pairs if (found := difference(got, wanted))]


def _apart(kink: Kink) -> bool:
    return any(op == kink.op and holds(kink) for op, holds, _ in SECOND_APART)


@BY_KINK
def test_a_kink_has_pytorchs_second_derivative(op: str, kink: Kink, gradd: Gradd) -> None:
    if op == "hardsigmoid":
        pytest.skip("PyTorch has no second derivative of it")
    if not _apart(kink):
        assert not _second_differences(kink, gradd)


@pytest.mark.parametrize(("op", "holds"), [(op, holds) for op, holds, _ in SECOND_APART])
def test_what_stands_apart_does(op: str, holds: Callable[[Kink], bool], gradd: Gradd) -> None:
    """A reason for an exception that no kink needs any more is to be deleted."""
    assert any(_second_differences(kink, gradd) for kink in KINKS if kink.op == op and holds(kink))


@BY_KINK
def test_a_kink_mapped_over_is_a_loop(op: str, kink: Kink, gradd: Gradd) -> None:
    """Three samples: the kink, its elements in the opposite order, and the kink again."""
    request = _request(kink)
    graph = request["graph"]
    samples = {name: _turned(read_tensor(tensor, torch.float64)) for name, tensor in graph["tensors"].items()}

    def asked(tensors: dict[str, torch.Tensor], **more: Any) -> dict[str, Any]:
        recorded = _moved(graph)
        written = {n: write_tensor(t, "nested", torch.float64, n in recorded) for n, t in tensors.items()}
        return _answered(gradd, request | {"graph": graph | {"tensors": written}} | more)

    together = asked(samples, vmap=dict.fromkeys(samples, 0))
    for place in range(3):
        alone = asked({name: stack[place] for name, stack in samples.items()})
        for section in ("outputs", "gradients"):
            for name, wanted in alone[section].items():
                if wanted is None:
                    assert together[section][name] is None
                else:
                    got = read_tensor(together[section][name], torch.float64)[place]
                    assert difference(got, read_tensor(wanted, torch.float64)) is None, (section, name)


def _turned(tensor: torch.Tensor) -> torch.Tensor:
    opposite = tensor.flatten().flip(0).reshape(tensor.shape)
    return torch.stack([tensor, opposite if tensor.is_floating_point() else tensor, tensor])


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
