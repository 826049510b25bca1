"""Ops that join tensors along a dimension or split one: cat and split are transposes of each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from engine.errors import OpError
from engine.graph.graph import Tensor, Type
from engine.graph.op import alias, op
from engine.graph.primitive import linear
from engine.graph.promotion import as_tensor, constant, promoted
from engine.graph.samples import real, sample
from engine.graph.traits import arrays, moves, per_operand
from engine.graph.types import Shape, wrap_dim
from engine.ops.indexing.slicing import last
from engine.ops.shape.movement import expanded, reshaped, same

Tensors = tuple[Tensor, ...]

RESULTS_LIMIT = 100_000
"""Maximum number of results of one op, checked before they are built."""


def _resized(shape: Shape, dim: int, size: int) -> Shape:
    axis = dim + len(shape)
    return (*shape[:axis], size, *shape[axis + 1 :])


@linear(cost=moves, effort=per_operand, memory=arrays(2), analytic=True)
def _cat(*tensors: Tensor, dim: int) -> Type:
    first = tensors[0]
    return Type(first.dtype, _resized(first.shape, dim, sum(tensor.shape[dim] for tensor in tensors)))


@_cat.kernel
def _(*tensors: np.ndarray, dim: int) -> np.ndarray:
    return np.concatenate(tensors, axis=dim)


@_cat.vjp
def _(grad: Tensor, out: Tensor, *tensors: Tensor, dim: int) -> Tensors:
    return parted(grad, dim, tuple(tensor.shape[dim] for tensor in tensors))


@linear(view=True, cost=moves, effort=per_operand, analytic=True)
def _split(input: Tensor, *, dim: int, sizes: tuple[int, ...]) -> tuple[Type, ...]:
    return tuple(Type(input.dtype, _resized(input.shape, dim, size)) for size in sizes)


@_split.kernel
def _(input: np.ndarray, *, dim: int, sizes: tuple[int, ...]) -> list[np.ndarray]:
    behind = (slice(None),) * (-1 - dim)
    return [
        input[last((slice(stop - size, stop), *behind))] for size, stop in zip(sizes, accumulate(sizes), strict=True)
    ]


@_split.vjp
def _(grads: Sequence[Tensor | None], outs: Tensors, input: Tensor, *, dim: int, sizes: tuple[int, ...]) -> Tensor:
    pieces = [
        expanded(constant(0, out.dtype), out.shape) if grad is None else grad
        for grad, out in zip(grads, outs, strict=True)
    ]
    return concatenated(pieces, dim)


def concatenated(tensors: Sequence[Tensor], dim: int) -> Tensor:
    """Tensors of one dtype joined along a negative `dim`; the other sizes are equal."""
    return tensors[0] if len(tensors) == 1 else _cat(*tensors, dim=dim)


def parted(input: Tensor, dim: int, sizes: tuple[int, ...]) -> Tensors:
    """Consecutive blocks of the given sizes along a negative `dim`, without copying."""
    made: Tensors = _split(input, dim=dim, sizes=sizes)
    return made


def stacked(tensors: Sequence[Tensor], dim: int) -> Tensor:
    """Tensors of one shape and dtype joined along a new dimension, a negative `dim` of the result."""
    axis = dim + tensors[0].ndim + 1
    shape = (*tensors[0].shape[:axis], 1, *tensors[0].shape[axis:])
    return concatenated([reshaped(tensor, shape) for tensor in tensors], dim)


# Joining


def _converted(tensors: Tensors, name: str) -> list[Tensor]:
    """Return the tensors in their promoted dtype. Raises OpError if there are no tensors."""
    if not tensors:
        raise OpError("missing_argument", f"{name} needs at least one tensor", "Name the tensors to join.", "tensors")
    dtype = promoted(tensors)
    return [as_tensor(tensor, dtype) for tensor in tensors]


def _joined(tensors: Sequence[Tensor], dim: int) -> Tensor:
    made = concatenated(tensors, dim)
    return same(made) if made is tensors[0] else made


@op(
    samples=(
        sample((real(2, 3), real(2, 1)), 1),
        sample((real(2, 3), real(0, 3), real(1, 3))),
        sample((real(3), real(0)), -1),
        sample((real(2),)),
        sample((real(2, 3), real(0)), 1),
    )
)
def cat(tensors: tuple[Tensor, ...], dim: int = 0) -> Tensor:
    """Tensors joined along an existing dimension; the other sizes are equal. Source: torch.cat.

    A tensor of shape [0] joins with tensors of any rank, as in PyTorch.
    """
    operands = _converted(tensors, "cat")
    pattern = next((operand for operand in operands if operand.shape != (0,)), operands[0])
    if not pattern.ndim:
        raise OpError(
            "rank", "a tensor without dimensions cannot be joined", "Use stack, or reshape it to [1].", "tensors"
        )
    if pattern.shape == (0,):
        return _joined(operands, -1)
    axis = wrap_dim(dim, pattern.ndim)
    empty = _resized(pattern.shape, axis, 0)
    fitting = [reshaped(operand, empty) if operand.shape == (0,) else operand for operand in operands]
    for position, operand in enumerate(fitting):
        if _apart_from(operand.shape, axis) != _apart_from(pattern.shape, axis):
            raise OpError(
                "shape_mismatch",
                f"tensor {position} has shape {list(operand.shape)}, which does not fit {list(pattern.shape)} "
                f"along dimension {dim}",
                f"All tensors need {pattern.ndim} dimensions, of equal sizes but for dimension {dim}.",
                "tensors",
            )
    return _joined(fitting, axis)


def _apart_from(shape: Shape, dim: int) -> tuple[int, Shape]:
    return len(shape), _resized(shape, dim, 0) if len(shape) >= -dim else ()


alias("concat", "cat")


@op(grad_fn="CatBackward0", samples=(sample((real(2, 3), real(2, 1)), 1), sample((real(2), real(1)))))
def concatenate(tensors: tuple[Tensor, ...], axis: int = 0, *, dim: int | None = None) -> Tensor:
    """The NumPy name of `cat`. The dimension is `dim` if given, else `axis`. Source: torch.concatenate."""
    return cat(tensors, axis if dim is None else dim)


@op(samples=(sample((real(2, 3), real(2, 3)), 1), sample((real(2), real(2), real(2)), -1), sample((real(), real()))))
def stack(tensors: tuple[Tensor, ...], dim: int = 0) -> Tensor:
    """Tensors of one shape joined along a new dimension. Source: torch.stack."""
    operands = _converted(tensors, "stack")
    first = operands[0]
    for position, operand in enumerate(operands):
        if operand.shape != first.shape:
            raise OpError(
                "shape_mismatch",
                f"tensor {position} has shape {list(operand.shape)}, and tensor 0 {list(first.shape)}",
                "stack takes tensors of one shape; cat joins along a dimension that they have.",
                "tensors",
            )
    return stacked(operands, wrap_dim(dim, first.ndim + 1))


def _stack_grad_fn(name: str, rank: int) -> Callable[[Mapping[str, Any], Any], str]:
    """Return the grad_fn rule of a stacking op that PyTorch computes by cat, after a reshape of lower-rank tensors."""
    return lambda given, out: "CatBackward0" if all(t.ndim >= rank for t in given["tensors"]) else name


@op(
    grad_fn=_stack_grad_fn("HstackBackward0", 1),
    samples=(sample((real(2, 3), real(2, 1))), sample((real(2), real(3))), sample((real(), real()))),
)
def hstack(tensors: tuple[Tensor, ...]) -> Tensor:
    """Tensors joined along dimension 1, or vectors along dimension 0. Source: torch.hstack."""
    return cat(_of_rank(tensors, 1, "hstack"), -1 if tensors[0].ndim < 2 else 1)


@op(
    grad_fn=_stack_grad_fn("VstackBackward0", 2),
    samples=(sample((real(2, 3), real(1, 3))), sample((real(3), real(3))), sample((real(), real()))),
)
def vstack(tensors: tuple[Tensor, ...]) -> Tensor:
    """Tensors joined along dimension 0, vectors as rows. Source: torch.vstack."""
    return cat(_of_rank(tensors, 2, "vstack"), 0)


def _of_rank(tensors: Tensors, rank: int, name: str) -> Tensors:
    """Return the tensors with leading dimensions of size 1 added up to `rank`."""
    if not tensors:
        raise OpError("missing_argument", f"{name} needs at least one tensor", "Name the tensors to join.", "tensors")
    return tuple(reshaped(tensor, (1,) * (rank - tensor.ndim) + tensor.shape) for tensor in tensors)


# Splitting


def _require_dimensions(input: Tensor, name: str, argument: str = "input") -> None:
    if not input.ndim:
        raise OpError("rank", f"{name} needs a tensor of at least one dimension", "Reshape it to [1] first.", argument)


def _require_few(count: int, argument: str | None) -> None:
    if count > RESULTS_LIMIT:
        raise OpError(
            "too_many_results",
            f"the op would have {count} results, over the limit of {RESULTS_LIMIT}",
            "Take larger pieces, or keep the tensor whole.",
            argument,
        )


def _pieces(size: int, piece: int) -> tuple[int, ...]:
    """Return block sizes of `piece` that add up to `size`; the last may be smaller. At least one."""
    if not size:
        return (0,)
    whole, rest = divmod(size, piece)
    return (piece,) * whole + ((rest,) if rest else ())


@op(
    grad_fn=lambda given, out: (
        "SplitBackward0" if isinstance(given["split_size_or_sections"], int) else "SplitWithSizesBackward0"
    ),
    samples=(sample(real(5, 2), 2), sample(real(2, 5), (1, 0, 4), 1), sample(real(3), 5), sample(real(0, 2), 1)),
)
def split(tensor: Tensor, split_size_or_sections: int | tuple[int, ...], dim: int = 0) -> tuple[Tensor, ...]:
    """Blocks along a dimension, of one size (the last may be smaller) or of a list of sizes. Source: torch.split."""
    _require_dimensions(tensor, "split", "tensor")
    axis, argument = wrap_dim(dim, tensor.ndim), "split_size_or_sections"
    size = tensor.shape[axis]
    if isinstance(split_size_or_sections, tuple):
        sizes = split_size_or_sections
        if any(piece < 0 for piece in sizes) or sum(sizes) != size:
            raise OpError(
                "shape_mismatch",
                f"sections {list(sizes)} do not add up to dimension {dim} of shape {list(tensor.shape)}",
                f"Give sizes of 0 or more whose sum is {size}.",
                argument,
            )
        if not sizes:
            raise OpError("missing_argument", "no sections are given", "Give the size of at least one.", argument)
        return parted(tensor, axis, sizes)
    piece = split_size_or_sections
    if piece < 0 or (not piece and size):
        raise OpError("shape", f"{piece} is no size of a block", "Use 1 or more.", argument)
    _require_few(size // max(piece, 1), argument)
    return parted(tensor, axis, _pieces(size, piece))


@op(grad_fn="SplitBackward0", samples=(sample(real(5, 2), 2), sample(real(2, 3), 5, 1), sample(real(0, 2), 2)))
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` blocks of equal size; the last may be smaller. Source: torch.chunk."""
    _require_dimensions(input, "chunk")
    axis = wrap_dim(dim, input.ndim)
    size = input.shape[axis]
    if chunks < 1:
        raise OpError("shape", f"{chunks} is no number of chunks", "Use 1 or more.", "chunks")
    _require_few(min(chunks, size) if size else chunks, "chunks")
    return parted(input, axis, _pieces(size, -(-size // chunks)) if size else (0,) * chunks)


@op(samples=(sample(real(3, 2)), sample(real(2, 3), -1), sample(real(2))))
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices at each index of a dimension, which is removed. Source: torch.unbind."""
    _require_dimensions(input, "unbind")
    axis = wrap_dim(dim, input.ndim)
    size = input.shape[axis]
    if not size:
        raise OpError("shape", f"dimension {dim} is empty: there are no results to name", "Leave the op out.", "input")
    _require_few(size, "input")
    before = axis + input.ndim
    shape = (*input.shape[:before], *input.shape[before + 1 :])
    return tuple(reshaped(piece, shape) for piece in parted(input, axis, (1,) * size))
