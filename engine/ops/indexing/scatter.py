"""Ops that write elements into a tensor, at indices or where a mask is true."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from engine.errors import OpError
from engine.graph.graph import Tensor, Type
from engine.graph.op import op
from engine.graph.primitive import linear
from engine.graph.promotion import as_tensor, constant
from engine.graph.samples import boolean, integers, real, sample
from engine.graph.traits import arrays, moves, per_element
from engine.graph.types import Number, bool_
from engine.ops.creation import filled, fitting
from engine.ops.elementwise.selection import where
from engine.ops.indexing.gather import aligned, element_index, gathered, require_within, scattered_sum
from engine.ops.indexing.slicing import cropped
from engine.ops.shape.movement import reshaped, same


@linear(cost=moves, effort=per_element(20), memory=arrays(3))
def _scatter(input: Tensor, index: Tensor, src: Tensor, *, dim: int) -> Type:
    """The input with elements replaced along `dim`, each at its index; the last of equal indices wins."""
    return Type(input.dtype, input.shape)


@_scatter.kernel
def _(input: np.ndarray, index: np.ndarray, src: np.ndarray, *, dim: int) -> np.ndarray:
    result = input.copy(order="C")
    result.reshape(-1)[element_index(index, input.shape, dim)] = src
    return result


@_scatter.vjp("input")
def _(grad: Tensor, out: Tensor, input: Tensor, index: Tensor, src: Tensor, *, dim: int) -> Tensor:
    return _scatter(grad, index, filled(src.shape, 0, grad.dtype), dim=dim)


@_scatter.vjp("src")
def _(grad: Tensor, out: Tensor, input: Tensor, index: Tensor, src: Tensor, *, dim: int) -> Tensor:
    return gathered(grad, index, dim)


# Indices


def _replacement(
    input: Tensor, src: Tensor | Number | None, value: Number | None, reduce: str | None
) -> tuple[Tensor | Number, str]:
    """Return the values that a scatter writes, and the name of their argument."""
    if (src is None) is (value is None):
        raise OpError(
            "missing_argument", "scatter needs src or value, one of them", "Give a tensor or a number.", "src"
        )
    if isinstance(src, Tensor) and src.dtype is not input.dtype:
        raise OpError(
            "dtype", f"src has dtype {src.dtype}, and input {input.dtype}", "Give both the same dtype.", "src"
        )
    if reduce == "multiply":
        raise OpError("reduce", "scatter does not multiply", "Use scatter_reduce with reduce prod.", "reduce")
    return (src, "src") if src is not None else (value or 0, "value")


def _scatter_grad_fn(given: Mapping[str, Any], out: Tensor) -> str:
    if given.get("reduce"):
        return "ScatterAddBackward0"
    return "ScatterBackward0" if isinstance(given.get("src"), Tensor) else "ScatterBackward1"


@op(
    grad_fn=_scatter_grad_fn,
    samples=(
        sample(real(3, 4), 1, integers(4, 3, 1), real(3, 2)),
        sample(real(3, 4), 0, integers(3, 1, 2), real(2, 4)),
        sample(real(3, 4), 0, integers(3, 2, 2), 1.5),
        sample(real(3, 4), 1, integers(4, 2, 5), real(3, 5), reduce="add"),
        sample(real(), 0, integers(1), real()),
        sample(real(3), 0, integers(3, 0), real(3)),
    ),
)
def scatter(
    input: Tensor,
    dim: int,
    index: Tensor,
    src: Tensor | Number | None = None,
    *,
    value: Number | None = None,
    reduce: Literal["add", "multiply"] | None = None,
) -> Tensor:
    """The input with elements of `src`, or a number, written at indices along `dim`. Source: torch.scatter.

    With `reduce="add"` they are added to the input. The last of equal indices wins; as in PyTorch, all of them
    receive the gradient.
    """
    given, argument = _replacement(input, src, value, reduce)
    operand, indices, axis = aligned(input, index, dim)
    if indices.ndim != operand.ndim:
        return same(input)
    require_within(indices, operand.shape, axis, "input")
    block = _block(given, indices, input, argument)
    if reduce == "add":
        return reshaped(operand + scattered_sum(block, indices, axis, operand.shape), input.shape)
    return reshaped(_scatter(operand, indices, block, dim=axis), input.shape)


def _block(given: Tensor | Number, index: Tensor, input: Tensor, argument: str) -> Tensor:
    """Return the values to write, in the shape of the index."""
    if not isinstance(given, Tensor):
        return filled(index.shape, fitting(given, input.dtype, argument), input.dtype)
    aligned = reshaped(given, given.shape or (1,))
    if aligned.ndim != index.ndim:
        raise OpError(
            "rank",
            f"src has shape {list(given.shape)}, and index {list(index.shape)}",
            "src needs as many dimensions as index; expand it.",
            "src",
        )
    require_within(index, aligned.shape, None, "src")
    return cropped(aligned, tuple((0, size, 1) for size in index.shape))


@op(
    samples=(
        sample(real(3, 4), 1, integers(4, 3, 5), real(3, 5)),
        sample(real(3, 4), 0, integers(3, 2, 2), real(2, 4)),
        sample(real(2, 3, 2), -2, integers(3, 1, 4, 2), real(2, 5, 2)),
        sample(real(), 0, integers(1, 2), real(2)),
        sample(real(3), 0, integers(3, 0), real(3)),
    )
)
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """The input with elements of `src` added at indices along `dim`. Source: torch.scatter_add."""
    return scatter(input, dim, index, src, reduce="add")


# Masks


@op(
    grad_fn=lambda given, out: f"MaskedFillBackward{1 if isinstance(given['value'], Tensor) else 0}",
    samples=(
        sample(real(2, 3), boolean(2, 3), 1.5),
        sample(real(2, 3), boolean(3), -1),
        sample(real(3), boolean(2, 1), 0.5),
        sample(real(2, 3), boolean(2, 3), real()),
    ),
)
def masked_fill(input: Tensor, mask: Tensor, value: Tensor | Number) -> Tensor:
    """The input with `value` where the mask is true. Both broadcast. Source: torch.Tensor.masked_fill."""
    if mask.dtype is not bool_:
        raise OpError(
            "dtype", f"mask has dtype {mask.dtype}, not bool", "Compare it first, for example with ne 0.", "mask"
        )
    if not isinstance(value, Tensor):
        return where(mask, constant(fitting(value, input.dtype, "value"), input.dtype), input)
    if value.ndim:
        raise OpError(
            "rank",
            f"value has shape {list(value.shape)}, and masked_fill takes one value",
            "Use where for a value of more elements.",
            "value",
        )
    return where(mask, as_tensor(value, input.dtype), input)
