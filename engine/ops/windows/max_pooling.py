"""Max pooling ops: the largest element of each sliding window.

Of equal elements, the first in row-major order of the window receives the gradient. NaN is the largest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from engine.graph.graph import Tensor, Type
from engine.graph.primitive import linear, primitive
from engine.graph.samples import real, sample
from engine.graph.traits import arrays, inputs, per_place, per_result, per_window, results, with_dims
from engine.graph.types import DType, int64, uint8
from engine.ops.checks import require_number
from engine.ops.kernels.masks import masked
from engine.ops.windows.arguments import Numbers, pool
from engine.ops.windows.spatial import spatial_op
from engine.ops.windows.windows import Sizes, cuts, resized, window_counts

# Primitives


def _offset_dtype(kernel: Sizes) -> DType:
    """Return the smallest dtype for positions in a window."""
    return uint8 if math.prod(kernel) <= 256 else int64


@primitive(cost=per_window(1, results), effort=per_place(6, results), memory=arrays(4), batch_last=with_dims)
def _window_max(input: Tensor, *, dims: Sizes, kernel: Sizes, stride: Sizes, dilation: Sizes) -> tuple[Type, Type]:
    """The largest element of each window along `dims`, and its position in the window."""
    counts = window_counts(tuple(input.shape[dim] for dim in dims), kernel, stride, dilation)
    shape = resized(input.shape, dims, counts)
    return Type(input.dtype, shape), Type(_offset_dtype(kernel), shape)


@_window_max.kernel
def _(
    input: np.ndarray, *, dims: Sizes, kernel: Sizes, stride: Sizes, dilation: Sizes
) -> tuple[np.ndarray, np.ndarray]:
    counts = window_counts(tuple(input.shape[dim] for dim in dims), kernel, stride, dilation)
    first, *others = candidates = [input[where] for where in cuts(dims, counts, kernel, stride, dilation)]
    largest = first.copy("K")
    place = np.zeros_like(largest, _offset_dtype(kernel).numpy)
    larger = np.empty_like(largest, bool)
    for number, candidate in enumerate(others, 1):
        np.greater(candidate, largest, out=larger)
        np.maximum(largest, candidate, out=largest)
        np.maximum(place, larger.view(np.uint8) * place.dtype.type(number), out=place)
    if np.isnan(largest).any():
        return largest, _first_place(candidates, largest, place.dtype)
    return largest, place


def _first_place(candidates: Sequence[np.ndarray], largest: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return the number of the first candidate that equals the largest; NaN equals itself.

    An earlier equal candidate has a larger score: masked assignment takes ten times as long.
    """
    best = np.zeros(largest.shape, dtype)
    for number, candidate in enumerate(candidates):
        equal = (candidate == largest) | np.isnan(candidate)
        np.maximum(best, equal * dtype.type(len(candidates) - 1 - number), out=best)
    return dtype.type(len(candidates) - 1) - best


@_window_max.vjp
def _(
    grads: Sequence[Tensor | None],
    outs: tuple[Tensor, Tensor],
    input: Tensor,
    *,
    dims: Sizes,
    kernel: Sizes,
    stride: Sizes,
    dilation: Sizes,
) -> Tensor | None:
    if grads[0] is None:
        return None
    return _put(grads[0], outs[1], input, dims, kernel, stride, dilation)


def _put(
    grad: Tensor, offset: Tensor, input: Tensor, dims: Sizes, kernel: Sizes, stride: Sizes, dilation: Sizes
) -> Tensor:
    sizes = tuple(input.shape[dim] for dim in dims)
    made: Tensor = _window_put(grad, offset, sizes=sizes, dims=dims, kernel=kernel, stride=stride, dilation=dilation)
    return made


@linear(cost=per_window(1, results), effort=per_place(4, results), memory=arrays(2), batch_last=with_dims)
def _window_take(input: Tensor, offset: Tensor, *, dims: Sizes, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Type:
    """One element of each window along `dims`, at the given position in the window."""
    return Type(input.dtype, offset.shape)


@_window_take.kernel
def _(
    input: np.ndarray, offset: np.ndarray, *, dims: Sizes, kernel: Sizes, stride: Sizes, dilation: Sizes
) -> np.ndarray:
    taken = np.zeros(offset.shape, input.dtype)
    counts = tuple(offset.shape[dim] for dim in dims)
    for number, where in enumerate(cuts(dims, counts, kernel, stride, dilation)):
        taken += masked(input[where], offset == number)
    return taken


@_window_take.vjp("input")
def _(
    grad: Tensor,
    out: Tensor,
    input: Tensor,
    offset: Tensor,
    *,
    dims: Sizes,
    kernel: Sizes,
    stride: Sizes,
    dilation: Sizes,
) -> Tensor:
    return _put(grad, offset, input, dims, kernel, stride, dilation)


@linear(cost=per_window(1, inputs), effort=per_place(4, inputs), memory=arrays(3), batch_last=with_dims)
def _window_put(
    input: Tensor, offset: Tensor, *, sizes: Sizes, dims: Sizes, kernel: Sizes, stride: Sizes, dilation: Sizes
) -> Type:
    """The transpose of `_window_take`: each element is added at its position in its window along `dims`."""
    return Type(input.dtype, resized(input.shape, dims, sizes))


@_window_put.kernel
def _(
    input: np.ndarray,
    offset: np.ndarray,
    *,
    sizes: Sizes,
    dims: Sizes,
    kernel: Sizes,
    stride: Sizes,
    dilation: Sizes,
) -> np.ndarray:
    counts = tuple(offset.shape[dim] for dim in dims)
    apart = kernel == stride and set(dilation) == {1}
    filled = apart and sizes == tuple(count * k for count, k in zip(counts, kernel, strict=True))
    total = (np.empty if filled else np.zeros)(resized(input.shape, dims, sizes), input.dtype)
    given = np.ascontiguousarray(input)
    for number, where in enumerate(cuts(dims, counts, kernel, stride, dilation)):
        if apart:
            total[where] = masked(given, offset == number)
        else:
            total[where] += masked(given, offset == number)
    return total


@_window_put.vjp("input")
def _(
    grad: Tensor,
    out: Tensor,
    input: Tensor,
    offset: Tensor,
    *,
    sizes: Sizes,
    dims: Sizes,
    kernel: Sizes,
    stride: Sizes,
    dilation: Sizes,
) -> Tensor:
    made: Tensor = _window_take(grad, offset, dims=dims, kernel=kernel, stride=stride, dilation=dilation)
    return made


@primitive(differentiable=False, cost=per_result(4), effort=per_result(400), memory=arrays(8))
def _window_index(
    offset: Tensor, *, sizes: Sizes, kernel: Sizes, first: Sizes, stride: Sizes, per: Sizes, dilation: Sizes
) -> Type:
    """Convert positions in windows to row-major positions in the input of `sizes`.

    Along a dimension the n-th window starts at `first + n * stride // per`.
    """
    return Type(int64, offset.shape)


@_window_index.kernel
def _(
    offset: np.ndarray, *, sizes: Sizes, kernel: Sizes, first: Sizes, stride: Sizes, per: Sizes, dilation: Sizes
) -> np.ndarray:
    dims = len(kernel)
    index = np.zeros(offset.shape, np.int64)
    within = np.unravel_index(offset.astype(np.int64), kernel)
    for axis in range(dims):
        number = np.arange(offset.shape[axis - dims]).reshape(-1, *(1,) * (dims - 1 - axis))
        index *= sizes[axis]
        index += number * stride[axis] // per[axis] + first[axis] + within[axis] * dilation[axis]
    return index


def window_max(input: Tensor, kernel: Sizes, stride: Sizes, dilation: Sizes) -> tuple[Tensor, Tensor]:
    """Return the largest element of each window over the last dimensions, and its position in the window."""
    dims = tuple(range(-len(kernel), 0))
    largest, offset = _window_max(input, dims=dims, kernel=kernel, stride=stride, dilation=dilation)
    return largest, offset


def window_index(
    offset: Tensor, sizes: Sizes, kernel: Sizes, first: Sizes, stride: Sizes, per: Sizes, dilation: Sizes
) -> Tensor:
    """Return positions in the input of `sizes`; the n-th window starts at `first + n * stride // per`."""
    made: Tensor = _window_index(
        offset, sizes=sizes, kernel=kernel, first=first, stride=stride, per=per, dilation=dilation
    )
    return made


def least(dtype: DType) -> float:
    """Return the smallest number of the dtype."""
    return -math.inf if dtype.is_floating else int(np.iinfo(dtype.numpy).min)


# Ops


@spatial_op(
    grad_fn=lambda dims: None if dims == 1 else f"MaxPool{dims}DWithIndicesBackward0",
    samples={
        1: (
            sample(real(2, 2, 6), 2),
            sample(real(2, 7), 3, 2, 1, 1, True),
            sample(real(1, 1, 6), 2, dilation=2, return_indices=True),
        ),
        2: (
            sample(real(2, 2, 4, 4), 2),
            sample(real(2, 5, 6), (3, 2), (2, 1), (1, 0), 1, True),
            sample(real(1, 1, 5, 5), 2, 1, 1, 2),
            sample(real(1, 2, 4, 4), 3, 2, return_indices=True),
        ),
        3: (sample(real(1, 2, 2, 4, 2), 2), sample(real(1, 3, 3, 3), 2, 2, 1, return_indices=True)),
    },
)
def max_pool(
    input: Tensor,
    kernel_size: Numbers,
    stride: Numbers | None = None,
    padding: Numbers = 0,
    dilation: Numbers = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    dims: int,
) -> Tensor | tuple[Tensor, Tensor]:
    """The largest element of each window over {images}, and its index{of_index} if asked.

    `stride` is `kernel_size` if it is left out; padding counts as minus infinity; with `ceil_mode` a last window may
    reach over the end. Source: torch.nn.functional.max_pool{dims}d.
    """
    placed = pool(input, dims, kernel_size, stride, padding, dilation, ceil_mode)
    require_number(input)
    largest, offset = window_max(
        placed.padded(input, least(input.dtype)), placed.kernel, placed.stride, placed.dilation
    )
    if not return_indices:
        return placed.restored(largest)
    first, once = tuple(-width for width in placed.padding), (1,) * dims
    index = window_index(offset, placed.sizes, placed.kernel, first, placed.stride, once, placed.dilation)
    return placed.restored(largest), placed.restored(index)
