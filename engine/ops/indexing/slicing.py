"""Ops that extract blocks of tensors, and two primitives, which are transposes of each other.

`_slice` extracts a block with steps from the last dimensions. `_pad` places a tensor inside a larger one of a given
value, optionally with gaps between its elements. Other ops use `cropped`, `sliced`, `narrowed`, `selected`, `padded`.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import EllipsisType
from typing import Any

import numpy as np

from engine.errors import OpError
from engine.graph.graph import Node, Tensor, Type
from engine.graph.op import op
from engine.graph.primitive import linear
from engine.graph.promotion import as_tensor, constant
from engine.graph.samples import integers, real, sample
from engine.graph.traits import arrays, in_place, moves, per_operand, per_result, turned
from engine.graph.types import Number, Shape, int64, wrap_dim
from engine.ops.creation import counted
from engine.ops.elementwise.comparison import lt
from engine.ops.elementwise.selection import where
from engine.ops.indexing.gather import taken
from engine.ops.shape.movement import reshaped, same

Cuts = tuple[tuple[int, int, int], ...]
"""(start, stop, step) of each of the last dimensions: 0 <= start <= stop <= size, step >= 1."""

Widths = tuple[tuple[int, int, int], ...]
"""(before, after, between): counts of inserted elements in each of the last dimensions, all >= 0."""


def _with_last(shape: Shape, sizes: list[int]) -> Shape:
    return (*shape[: len(shape) - len(sizes)], *sizes)


def _cuts_with_batch_last(node: Node, rank: int) -> dict[str, Any]:
    """Return the parameters of a slice node after the first of its `rank` dimensions moves to the end."""
    cuts, sizes = node.params["cuts"], node.inputs[0].shape
    whole = tuple((0, size, 1) for size in sizes[len(sizes) - max(rank, len(cuts)) : len(sizes) - len(cuts)])
    return {"cuts": turned(whole + cuts, rank)}


@linear(view=True, analytic=True, batch_last=_cuts_with_batch_last)
def _slice(input: Tensor, *, cuts: Cuts) -> Type:
    return Type(input.dtype, _with_last(input.shape, [len(range(*cut)) for cut in cuts]))


@_slice.kernel
def _(input: np.ndarray, *, cuts: Cuts) -> np.ndarray:
    return input[last(slice(*cut) for cut in cuts)]


def last(slices: Iterable[slice]) -> tuple[EllipsisType | slice, ...]:
    """Return an index that slices the last dimensions of an array and keeps the leading ones whole."""
    return (..., *slices)


@_slice.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, cuts: Cuts) -> Tensor:
    widths = []
    for cut, size in zip(cuts, input.shape[-len(cuts) :], strict=True):
        count, (start, _, step) = len(range(*cut)), cut
        widths.append((start, size - start - _spread(count, step - 1), step - 1))
    return padded(grad, tuple(widths))


def _spread(size: int, between: int) -> int:
    """Return the size after `between` elements are inserted between each two neighbours."""
    return size + max(size - 1, 0) * between


def _widths_with_batch_last(node: Node, rank: int) -> dict[str, Any]:
    """Return the parameters of a pad node after the first of its `rank` dimensions moves to the end."""
    widths = node.params["widths"]
    return {"widths": turned(((0, 0, 0),) * (rank - len(widths)) + widths, rank)}


@linear(cost=moves, effort=per_result(8), memory=arrays(2), analytic=True, batch_last=_widths_with_batch_last)
def _pad(input: Tensor, value: Tensor, *, widths: Widths) -> Type:
    """The value is a 0-d input, not a parameter, because a linear primitive maps zeros to zeros."""
    sizes = zip(input.shape[-len(widths) :], widths, strict=True)
    return Type(
        input.dtype,
        _with_last(input.shape, [before + _spread(size, between) + after for size, (before, after, between) in sizes]),
    )


@_pad.kernel
def _(input: np.ndarray, value: np.ndarray, *, widths: Widths) -> np.ndarray:
    sizes = input.shape[-len(widths) :]
    spread = [_spread(size, between) for size, (_, _, between) in zip(sizes, widths, strict=True)]
    shape = [before + size + after for size, (before, after, _) in zip(spread, widths, strict=True)]
    result = np.empty(_with_last(input.shape, shape), input.dtype)
    result[...] = np.reshape(value, (*np.shape(value), *(1,) * (input.ndim - np.ndim(value))))
    result[
        last(
            slice(before, before + size, between + 1) for size, (before, _, between) in zip(spread, widths, strict=True)
        )
    ] = input
    return result


@_pad.vjp("input")
def _(grad: Tensor, out: Tensor, input: Tensor, value: Tensor, *, widths: Widths) -> Tensor:
    sizes = input.shape[-len(widths) :]
    cuts = [
        (before, before + _spread(size, between), between + 1)
        for size, (before, _, between) in zip(sizes, widths, strict=True)
    ]
    return _slice(grad, cuts=tuple(cuts))


def padded(input: Tensor, widths: Widths, value: Number = 0) -> Tensor:
    """The tensor placed inside a larger one filled with `value`."""
    if not any(any(width) for width in widths):
        return input
    return _pad(input, constant(value, input.dtype), widths=widths)


@linear(cost=moves, effort=per_operand, memory=in_place)
def _concat_pads(*pieces: Tensor, axis: int, size: int, starts: tuple[int, ...]) -> Type:
    """Pieces placed in order at `starts` along a negative `axis` of the given size, and zeros elsewhere.

    Bitwise equal to the sum of the padded pieces, which it replaces in plans. It needs no derivative.
    """
    return Type(pieces[0].dtype, _with_axis(pieces[0].shape, axis, size))


def _with_axis(shape: Shape, axis: int, size: int) -> Shape:
    return (*shape[: axis + len(shape)], size, *shape[axis + len(shape) + 1 :])


@_concat_pads.kernel
def _(*pieces: np.ndarray, axis: int, size: int, starts: tuple[int, ...]) -> np.ndarray:
    trailing = (slice(None),) * (-1 - axis)
    result = np.empty(_with_axis(pieces[0].shape, axis, size), pieces[0].dtype)
    filled = 0
    for start, piece in zip(starts, pieces, strict=True):
        result[last((slice(filled, start), *trailing))] = 0
        filled = start + piece.shape[axis]
        np.add(piece, 0, out=result[last((slice(start, filled), *trailing))])  # -0 becomes 0, as in a sum
    result[last((slice(filled, size), *trailing))] = 0
    return result


PAD, CONCAT_PADS = _pad, _concat_pads


def cropped(input: Tensor, cuts: Cuts) -> Tensor:
    """A block of the last dimensions, without copying."""
    whole = all(cut == (0, size, 1) for cut, size in zip(cuts, input.shape[-len(cuts) :], strict=True))
    return input if whole else _slice(input, cuts=cuts)


def sliced(input: Tensor, dim: int, start: int, stop: int, step: int = 1) -> Tensor:
    """Every `step`-th index of a negative `dim`, 0 <= start <= stop <= size, without copying."""
    others = [(0, size, 1) for size in input.shape[dim:][1:]]
    return cropped(input, ((start, stop, step), *others))


def narrowed(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """`length` indices of a negative `dim` from `start` on, without copying."""
    return sliced(input, dim, start, start + length)


def selected(input: Tensor, dim: int, index: int) -> Tensor:
    """The slice at one index of a negative `dim`, which is removed, without copying."""
    axis = dim + input.ndim
    return reshaped(sliced(input, dim, index, index + 1), (*input.shape[:axis], *input.shape[axis + 1 :]))


def _require_dimensions(input: Tensor, name: str) -> None:
    if not input.ndim:
        raise OpError("rank", f"{name} needs a tensor of at least one dimension", "Reshape it to [1] first.", "input")


@op(
    grad_fn="SliceBackward0",
    samples=(
        sample(real(4, 3), 0, 1, 2),
        sample(real(4, 3), 1, -2, 2),
        sample(real(4, 3), 0, integers(3), 2),
        sample(real(3), 0, 3, 0),
    ),
)
def narrow(input: Tensor, dim: int, start: int | Tensor, length: int) -> Tensor:
    """`length` indices of `dim` from `start` on, which counts from the end if negative. Source: torch.narrow."""
    _require_dimensions(input, "narrow")
    axis = wrap_dim(dim, input.ndim)
    size = input.shape[axis]
    if isinstance(start, Tensor):
        return _narrow_at(input, axis, start, length)
    if not -size <= start <= size:
        raise OpError(
            "index_out_of_range",
            f"start {start} is out of range for dimension {dim} of shape {list(input.shape)}",
            f"Use a start from {-size} to {size}.",
            "start",
        )
    first = start + size if start < 0 else start
    if length < 0 or first + length > size:
        raise OpError(
            "index_out_of_range",
            f"length {length} from start {first} does not fit dimension {dim} of shape {list(input.shape)}",
            f"Use a length from 0 to {size - first}.",
            "length",
        )
    made = narrowed(input, axis, first, length)
    return same(input) if made is input else made


def _narrow_at(input: Tensor, dim: int, start: Tensor, length: int) -> Tensor:
    """Like `narrow`, with a start that is a tensor: the kernel checks its range."""
    if start.ndim or not start.dtype.is_integral:
        raise OpError(
            "dtype",
            f"start has dtype {start.dtype} and shape {list(start.shape)}",
            "Use an integer, or a tensor of dtype int64 without dimensions.",
            "start",
        )
    if length < 0:
        raise OpError("index_out_of_range", f"length {length} is negative", "Use 0 or more.", "length")
    first = where(lt(start, 0), start + input.shape[dim], start)
    return taken(input, as_tensor(first, int64) + counted(length), dim)


@op(samples=(sample(real(4, 3), 0, 1), sample(real(4, 3), 1, -1), sample(real(3), 0, 2)))
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """The slice at one index of `dim`, which is removed; a negative index counts from the end. Source: torch.select."""
    _require_dimensions(input, "select")
    axis = wrap_dim(dim, input.ndim)
    size = input.shape[axis]
    if not -size <= index < size:
        raise OpError(
            "index_out_of_range",
            f"index {index} is out of range for dimension {dim} of shape {list(input.shape)}",
            f"Use an index from {-size} to {size - 1}." if size else "The dimension is empty.",
            "index",
        )
    return selected(input, axis, index + size if index < 0 else index)
