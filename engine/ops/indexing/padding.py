"""The op `pad`, which adds a border of one value or of copied elements around the last dimensions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import EllipsisType
from typing import Literal

import numpy as np

from engine.errors import OpError
from engine.graph.graph import Tensor, Type
from engine.graph.op import op
from engine.graph.primitive import linear
from engine.graph.samples import real, sample
from engine.graph.traits import arrays, moves, per_input, per_result
from engine.graph.types import Number
from engine.ops.creation import fitting
from engine.ops.indexing.slicing import cropped, last, padded
from engine.ops.kernels.reduce import total
from engine.ops.shape.movement import same

Pairs = tuple[tuple[int, int], ...]
"""(before, after): border widths of each of the last dimensions, in their order; negative numbers crop."""

_NAMES = {"reflect": "ReflectionPad", "replicate": "ReplicationPad"}


def _grad_fn(given: object, mode: str, count: int) -> str:
    if mode == "constant":
        return "ConstantPadNdBackward0"
    return f"{_NAMES[mode]}{count}DBackward0" if mode in _NAMES else "PadBackward0"


@op(
    grad_fn=lambda given, out: _grad_fn(given, given.get("mode", "constant"), len(given["pad"]) // 2),
    samples=(
        sample(real(2, 3), (1, 2)),
        sample(real(2, 3), (1, -1, 0, 2), value=2.5),
        sample(real(2, 3), (-1, -1)),
        sample(real(2, 4), (3, 1), "reflect"),
        sample(real(2, 3), (0, 2), "reflect"),
        sample(real(1, 3, 4), (-1, 2, 2, 1), "reflect"),
        sample(real(1, 2, 3), (2, 1, 1, 0), "replicate"),
        sample(real(2, 4), (2, -1), "replicate"),
        sample(real(2, 3), (1, 3), "circular"),
        sample(real(2, 2, 3, 2), (1, -1, 2, 1, 0, 1), "circular"),
    ),
)
def pad(
    input: Tensor,
    pad: tuple[int, ...],
    mode: Literal["constant", "reflect", "replicate", "circular"] = "constant",
    value: Number | None = None,
) -> Tensor:
    """A border around the last dimensions. Source: torch.nn.functional.pad.

    `pad` has, from the last dimension backwards, the widths before and after it; negative ones crop. The border is
    `value` (`constant`), the elements mirrored at the edge, which is not repeated (`reflect`), the edge elements
    (`replicate`), or the elements of the opposite side (`circular`).
    """
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        raise OpError(
            "shape",
            f"pad has {len(pad)} widths for a tensor of {input.ndim} dimensions",
            "Give two widths, before and after, for each dimension to pad, the last one first.",
            "pad",
        )
    pairs = tuple(zip(pad[-2::-2], pad[::-2], strict=True))
    if mode == "constant":
        made = _constant(input, pairs, fitting(value or 0, input.dtype, "value"))
    else:
        made = _own(input, pairs, mode, value)
    return same(input) if made is input else made


def _cropped(input: Tensor, pairs: Pairs) -> Tensor:
    """The tensor with its last dimensions cropped by the negative widths."""
    sizes = input.shape[-len(pairs) :]
    return cropped(input, tuple((max(-a, 0), size - max(-b, 0), 1) for (a, b), size in zip(pairs, sizes, strict=True)))


def _constant(input: Tensor, pairs: Pairs, value: Number) -> Tensor:
    if not pairs:
        return input
    for (before, after), size in zip(pairs, input.shape[-len(pairs) :], strict=True):
        if min(before, 0) + min(after, 0) + size < 0:
            raise OpError(
                "shape",
                f"widths {before} and {after} take more than a dimension of size {size} has",
                "Crop less.",
                "pad",
            )
    widths = tuple((max(before, 0), max(after, 0), 0) for before, after in pairs)
    return padded(_cropped(input, pairs), widths, value)


# Borders of copied elements


def _own(input: Tensor, pairs: Pairs, mode: str, value: Number | None) -> Tensor:
    if value:
        raise OpError("argument_type", f"mode {mode} takes no value", "Leave value out, or use mode constant.", "value")
    if not 1 <= len(pairs) <= 3 or input.ndim not in (len(pairs) + 1, len(pairs) + 2):
        raise OpError(
            "rank",
            f"mode {mode} with {2 * len(pairs)} widths does not take a tensor of shape {list(input.shape)}",
            "Give 2, 4 or 6 widths, and a tensor with one or two dimensions more than they pad: (channels, ...) or "
            "(batch, channels, ...).",
            "pad",
        )
    sizes = input.shape[-len(pairs) :]
    for (before, after), size in zip(pairs, sizes, strict=True):
        rule = _RULES[mode](before, after, size)
        if rule or size + before + after < 0:
            raise OpError(
                "shape",
                f"widths {before} and {after} do not fit a dimension of size {size}",
                rule or "Crop less.",
                "pad",
            )
    if mode == "circular":  # the border copies the cropped tensor. Source: the code of torch.nn.functional.pad
        return _bordered(_cropped(input, pairs), pairs, mode)
    return _cropped(_bordered(input, pairs, mode), pairs)


_RULES: dict[str, Callable[[int, int, int], str]] = {
    "reflect": lambda before, after, size: "Each must be less than the size." if max(before, after) >= size else "",
    "replicate": lambda before, after, size: "" if size else "An empty dimension has no edge.",
    "circular": lambda before, after, size: (
        "Each is at most what the other leaves of the dimension: the tensor goes around once."
        if max(before, after) > size + min(before, 0) + min(after, 0)
        else ""
    ),
}
"""By mode: the hint on widths that a dimension does not allow, or an empty string."""


def _bordered(input: Tensor, pairs: Pairs, mode: str) -> Tensor:
    widths = tuple((max(before, 0), max(after, 0)) for before, after in pairs)
    return _border(input, widths=widths, mode=mode) if any(map(any, widths)) else input


@linear(cost=moves, effort=per_result(60), memory=arrays(2), analytic=True)
def _border(input: Tensor, *, widths: Pairs, mode: str) -> Type:
    """The tensor with borders of copied elements around its last dimensions; no width is negative."""
    sizes = zip(input.shape[-len(widths) :], widths, strict=True)
    return Type(
        input.dtype,
        (*input.shape[: -len(widths)], *(before + size + after for size, (before, after) in sizes)),
    )


@_border.kernel
def _(input: np.ndarray, *, widths: Pairs, mode: str) -> np.ndarray:
    sizes = input.shape[-len(widths) :]
    shape = [before + size + after for size, (before, after) in zip(sizes, widths, strict=True)]
    result = np.empty((*input.shape[: -len(widths)], *shape), input.dtype)
    result[_inside(sizes, widths)] = input
    for border, inner in _copies(result, sizes, widths, mode):
        border[...] = inner
    return result


@_border.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, widths: Pairs, mode: str) -> Tensor:
    made: Tensor = _fold(grad, widths=widths, mode=mode)
    return made


@linear(cost=per_input(1), memory=arrays(2), analytic=True)
def _fold(input: Tensor, *, widths: Pairs, mode: str) -> Type:
    """The borders removed and added to their source elements: the transpose of `_border`."""
    sizes = zip(input.shape[-len(widths) :], widths, strict=True)
    return Type(
        input.dtype,
        (*input.shape[: -len(widths)], *(size - before - after for size, (before, after) in sizes)),
    )


@_fold.kernel
def _(input: np.ndarray, *, widths: Pairs, mode: str) -> np.ndarray:
    result = input.copy()
    sizes = [size - before - after for size, (before, after) in zip(input.shape[-len(widths) :], widths, strict=True)]
    for border, inner in reversed(list(_copies(result, sizes, widths, mode))):
        edges = tuple(axis for axis, size in enumerate(inner.shape) if size != border.shape[axis])
        np.add(inner, total(border, edges, keepdim=True) if edges else border, out=inner)
    return result[_inside(sizes, widths)]


@_fold.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, widths: Pairs, mode: str) -> Tensor:
    made: Tensor = _border(grad, widths=widths, mode=mode)
    return made


def _inside(sizes: Sequence[int], widths: Pairs) -> tuple[EllipsisType | slice, ...]:
    return last(slice(before, before + size) for size, (before, _) in zip(sizes, widths, strict=True))


def _copies(
    array: np.ndarray, sizes: Sequence[int], widths: Pairs, mode: str
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pairs of views, dimension by dimension: a border and its source, which has size 1 for an edge.

    A border covers the full extent of the other dimensions, so that copies in this order also fill the corners.
    """
    for position, (size, (before, after)) in enumerate(zip(sizes, widths, strict=True)):
        end = before + size
        behind = (slice(None),) * (len(sizes) - 1 - position)
        sources = _SOURCES[mode](before, after, end)
        for border, source in zip((slice(0, before), slice(end, end + after)), sources, strict=True):
            if border.start < border.stop:
                yield array[last((border, *behind))], array[last((source, *behind))]


def _backwards(start: int, stop: int) -> slice:
    """Return the slice of [start, stop) in reverse order."""
    return slice(stop - 1, start - 1 if start else None, -1)


_SOURCES: dict[str, Callable[[int, int, int], tuple[slice, slice]]] = {
    "reflect": lambda before, after, end: (
        _backwards(before + 1, 2 * before + 1),
        _backwards(end - 1 - after, end - 1),
    ),
    "replicate": lambda before, after, end: (slice(before, before + 1), slice(end - 1, end)),
    "circular": lambda before, after, end: (slice(end - before, end), slice(before, before + after)),
}
"""By mode: the sources of the borders before and after, in a dimension padded to end at `end`."""
