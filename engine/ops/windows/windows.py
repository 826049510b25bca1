"""Primitives for sliding windows over the last dimensions. Convolution, pooling and unfold use them.

`_windows` is a view, also if windows overlap. `_fold`, its transpose, sums windows at their positions. The module also
computes window counts and checks window arguments.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from math import prod
from typing import Any

import numpy as np

from engine.errors import OpError
from engine.graph.graph import Node, Tensor, Type
from engine.graph.primitive import linear
from engine.graph.traits import CALL, STRIDED, arrays
from engine.graph.types import Shape
from engine.ops.shape.movement import reshaped
from engine.ops.windows.im2col import jumps

Sizes = tuple[int, ...]
"""One number for each spatial dimension."""


def reach(kernel: int, dilation: int) -> int:
    """Return the number of elements that a window spans."""
    return dilation * (kernel - 1) + 1


def window_counts(sizes: Shape, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Sizes:
    """Return the number of windows along each dimension."""
    each = zip(sizes, kernel, stride, dilation, strict=True)
    return tuple(max((size - reach(k, d)) // s + 1, 0) for size, k, s, d in each)


Place = tuple[Any, ...]


def places(counts: Sizes, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Iterator[tuple[Place, Place]]:
    """Yield each window position, row-major, with the index that selects it from all windows."""
    for place in product(*map(range, kernel)):
        each = zip(place, counts, stride, dilation, strict=True)
        yield (..., *place), (..., *(slice(k * d, k * d + (count - 1) * s + 1, s) for k, count, s, d in each))


def along(dims: Sizes, each: Iterable[Any], others: Any) -> tuple[Any, ...]:
    """Return `each` at negative `dims`, and `others` at the dimensions between and after them."""
    at = dict(zip(dims, each, strict=True))
    return tuple(at.get(dim, others) for dim in range(min(dims), 0))


def resized(shape: Shape, dims: Sizes, sizes: Sizes) -> Shape:
    """Return the shape with `sizes` at negative `dims`."""
    changed = dict(zip(dims, sizes, strict=True))
    return tuple(changed.get(dim, size) for dim, size in enumerate(shape, -len(shape)))


def cuts(dims: Sizes, counts: Sizes, kernel: Sizes, stride: Sizes, dilation: Sizes) -> list[Place]:
    """Return, for each window position along `dims`, row-major, the index that selects it from all windows."""
    return [(..., *along(dims, where[1:], slice(None))) for _, where in places(counts, kernel, stride, dilation)]


@linear(view=True, analytic=True)
def _windows(input: Tensor, *, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Type:
    """(*, *sizes) -> (*, *counts, *kernel)."""
    count = len(kernel)
    counts = window_counts(input.shape[-count:], kernel, stride, dilation)
    return Type(input.dtype, (*input.shape[:-count], *counts, *kernel))


@_windows.kernel
def _(input: np.ndarray, *, kernel: Sizes, stride: Sizes, dilation: Sizes) -> np.ndarray:
    count = len(kernel)
    counts = window_counts(input.shape[-count:], kernel, stride, dilation)
    steps = input.strides[-count:]
    return np.lib.stride_tricks.as_strided(
        input,
        (*input.shape[:-count], *counts, *kernel),
        (
            *input.strides[:-count],
            *jumps(steps, stride, counts),
            *jumps(steps, dilation, kernel),
        ),
        writeable=False,
    )


@_windows.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Tensor:
    return folded(grad, input.shape[-len(kernel) :], stride, dilation)


def _additions(node: Node) -> int:
    """One for each element of each window."""
    return node.inputs[0].numel


def _effort(node: Node) -> int:
    """One strided addition of one element per window, for each window position."""
    places = prod(node.inputs[0].shape[-len(node.params["sizes"]) :])
    return 2 * (10 * STRIDED * node.inputs[0].numel + CALL * places)


@linear(cost=_additions, effort=_effort, memory=arrays(2), analytic=True)
def _fold(input: Tensor, *, sizes: Sizes, stride: Sizes, dilation: Sizes) -> Type:
    """(*, *counts, *kernel) -> (*, *sizes)."""
    return Type(input.dtype, (*input.shape[: -2 * len(sizes)], *sizes))


@_fold.kernel
def _(input: np.ndarray, *, sizes: Sizes, stride: Sizes, dilation: Sizes) -> np.ndarray:
    count = len(sizes)
    counts, kernel = input.shape[-2 * count : -count], input.shape[-count:]
    total = np.zeros((*input.shape[: -2 * count], *sizes), input.dtype)
    for place, everywhere in places(counts, kernel, stride, dilation):
        total[everywhere] += input[place]
    return total


@_fold.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, sizes: Sizes, stride: Sizes, dilation: Sizes) -> Tensor:
    return windows(grad, input.shape[-len(sizes) :], stride, dilation)


def windows(input: Tensor, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Tensor:
    """Return all windows over the last dimensions as a view: (*, *sizes) -> (*, *counts, *kernel)."""
    if set(kernel) == {1} == set(stride):
        return reshaped(input, (*input.shape, *kernel))
    made: Tensor = _windows(input, kernel=kernel, stride=stride, dilation=dilation)
    return made


def folded(input: Tensor, sizes: Sizes, stride: Sizes, dilation: Sizes) -> Tensor:
    """Return the sum of windows at their positions: (*, *counts, *kernel) -> (*, *sizes)."""
    if set(input.shape[-len(sizes) :]) == {1} == set(stride):
        return reshaped(input, input.shape[: -len(sizes)])
    made: Tensor = _fold(input, sizes=sizes, stride=stride, dilation=dilation)
    return made


# Arguments


def per_dimension(value: int | tuple[int, ...], dims: int, argument: str, least: int = 1) -> Sizes:
    """Return one integer for each of `dims` spatial dimensions. Raises OpError for a wrong number, or below `least`."""
    given = (value,) if isinstance(value, int) else value
    if len(given) == 1:
        given *= dims
    if len(given) != dims:
        raise OpError(
            "argument_length",
            f"{argument} has {len(given)} numbers, for {dims} spatial dimensions",
            f"Give one number, or {dims}.",
            argument,
        )
    if min(given) < least:
        raise OpError(
            "range", f"{argument} is {list(given)}; numbers must be {least} or more", "Give larger numbers.", argument
        )
    return given


def with_batch(input: Tensor, dims: int) -> Shape:
    """Return the shape (N, C, *sizes) of an input with or without N. Raises OpError for another rank."""
    if input.ndim not in (dims + 1, dims + 2):
        names = ", ".join(("L", "H, W", "D, H, W")[dims - 1 : dims])
        raise OpError(
            "shape_mismatch",
            f"input has shape {list(input.shape)}; it must be (N, C, {names}) or (C, {names})",
            "Reshape the input: unsqueeze adds a dimension.",
            "input",
        )
    return input.shape if input.ndim == dims + 2 else (1, *input.shape)
