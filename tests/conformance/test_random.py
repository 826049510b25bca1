"""Ops that draw random numbers: the numbers are not PyTorch's, their distribution and their gradient are."""

from __future__ import annotations

import pytest
import torch

from tests.conformance.draws import DRAW_CALLS, SIZE, DrawCall
from tests.conformance.interpreter import run
from tests.conformance.server import Gradd
from tests.conformance.skips import DRAWS
from tests.conformance.wire import DTYPES, read_tensor

pytestmark = [pytest.mark.conformance, pytest.mark.filterwarnings("ignore")]

BY_OP = [pytest.param(call.op, call, id=call.op) for call in DRAW_CALLS]


def _drawn(gradd: Gradd, call: DrawCall, seed: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the result, and the gradient of its sum where the call has a leaf that requires grad."""
    default = DTYPES[call.dtype]
    request = {"graph": call.graph(), "outputs": ["y"], "seed": seed}
    value = gradd.post("/v1/forward", request)
    assert value.status == 200, value.body
    drawn = read_tensor(value.body["outputs"]["y"], default)
    if not call.tensors.get("x", {}).get("requires_grad") or call.op.endswith("_like"):
        return drawn, None
    ones = {"data": [1.0] * drawn.numel(), "shape": list(drawn.shape)}
    answer = gradd.post("/v1/gradients", request | {"backward": {"y": ones}})
    assert answer.status == 200, answer.body
    assert torch.equal(read_tensor(answer.body["outputs"]["y"], default), drawn), "one seed, two results"
    return drawn, read_tensor(answer.body["gradients"]["x"], default)


@pytest.mark.parametrize(("op", "call"), BY_OP)
def test_draws_have_their_distribution(op: str, call: DrawCall, gradd: Gradd) -> None:
    assert call.holds(*_drawn(gradd, call, seed=1))


@pytest.mark.parametrize(("op", "call"), BY_OP)
def test_draws_follow_the_seed(op: str, call: DrawCall, gradd: Gradd) -> None:
    first, again, other = (_drawn(gradd, call, seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("op", "call"), BY_OP)
def test_pytorch_has_the_property_too(op: str, call: DrawCall) -> None:
    torch.manual_seed(1)
    request = {"graph": call.graph(), "outputs": ["y"]}
    if call.tensors.get("x", {}).get("requires_grad") and not call.op.endswith("_like"):
        shape = call.tensors["x"].get("shape", [SIZE])
        request["backward"] = {"y": {"data": [1.0] * SIZE, "shape": shape}}
    reply = run(request)
    assert call.holds(reply.outputs["y"], reply.gradients.get("x"))


def test_every_op_that_draws_has_a_property(gradd: Gradd) -> None:
    # These two draw only in their dropout, which is scaled_dot_product_attention's, or choose windows at random.
    elsewhere = {"multi_head_attention_forward", "fractional_max_pool2d", "fractional_max_pool3d", "multinomial"}
    assert not (gradd.offered & DRAWS) - {call.op for call in DRAW_CALLS} - elsewhere
