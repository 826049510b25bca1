"""Linear layer ops: the weight has one row for each output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.errors import OpError
from engine.graph.graph import Tensor
from engine.graph.op import op
from engine.graph.samples import real, sample
from engine.ops.checks import require_number, require_one_dtype
from engine.ops.linalg.matmul import matmul
from engine.ops.shape.movement import t


def _linear_grad_fn(given: Mapping[str, Any], out: Any) -> str:
    """PyTorch has a single node if it multiplies two matrices."""
    if given["input"].ndim == given["weight"].ndim == 2:
        return "MmBackward0" if given.get("bias") is None else "AddmmBackward0"
    return "LinearBackward0"


@op(
    grad_fn=_linear_grad_fn,
    samples=(
        sample(real(2, 3), real(4, 3), real(4)),
        sample(real(2, 3), real(4, 3)),
        sample(real(3), real(4, 3), real(4)),
        sample(real(2, 2, 3), real(4, 3), real(4)),
        sample(real(2, 3), real(3), real()),
        sample(real(0, 3), real(4, 3), real(4)),
    ),
)
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`input @ weight.T + bias`: (*, in), weight (out, in) or (in), bias (out) or () -> (*, out) or (*).

    Source: torch.nn.functional.linear.
    """
    require_number(input)
    require_one_dtype(input=input, weight=weight, bias=bias)
    if not input.ndim or weight.ndim not in (1, 2) or weight.shape[-1] != input.shape[-1]:
        raise OpError(
            "shape_mismatch",
            f"input has shape {list(input.shape)} and weight {list(weight.shape)}; their last sizes must be equal",
            "Give weight the shape (out, in): a row for each output.",
            "weight",
        )
    made = matmul(input, t(weight))
    if bias is None:
        return made
    total = made + bias
    if total.shape != made.shape:
        raise OpError(
            "shape_mismatch",
            f"bias has shape {list(bias.shape)}, and does not broadcast to the result's {list(made.shape)}",
            "Give bias one element for each row of weight.",
            "bias",
        )
    return total
