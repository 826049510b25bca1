"""Average pooling ops: the mean of each sliding window."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.errors import OpError
from engine.graph.graph import Tensor, Type
from engine.graph.primitive import linear, primitive
from engine.graph.samples import real, sample
from engine.graph.traits import arrays, inputs, per_place, per_result, per_window, results, with_dims
from engine.graph.types import DType, int64
from engine.ops.checks import require_floating
from engine.ops.elementwise.arithmetic import div
from engine.ops.shape.movement import reshaped
from engine.ops.windows.arguments import Numbers, PoolArguments, pool
from engine.ops.windows.spatial import spatial_op
from engine.ops.windows.windows import Sizes, cuts, resized, window_counts

# Primitives


@linear(
    cost=per_window(1, results), effort=per_place(2, results), memory=arrays(2), batch_last=with_dims, analytic=True
)
def _window_sum(input: Tensor, *, dims: Sizes, kernel: Sizes, stride: Sizes) -> Type:
    """The sum of each window along `dims`."""
    counts = window_counts(tuple(input.shape[dim] for dim in dims), kernel, stride, (1,) * len(dims))
    return Type(input.dtype, resized(input.shape, dims, counts))


@_window_sum.kernel
def _(input: np.ndarray, *, dims: Sizes, kernel: Sizes, stride: Sizes) -> np.ndarray:
    once = (1,) * len(dims)
    counts = window_counts(tuple(input.shape[dim] for dim in dims), kernel, stride, once)
    first, *rest = cuts(dims, counts, kernel, stride, once)
    total = input[first].astype(np.float32 if input.dtype == np.float16 else input.dtype)
    for where in rest:
        total += input[where]
    return total.astype(input.dtype, copy=False)


@_window_sum.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, dims: Sizes, kernel: Sizes, stride: Sizes) -> Tensor:
    sizes = tuple(input.shape[dim] for dim in dims)
    made: Tensor = _window_spread(grad, sizes=sizes, dims=dims, kernel=kernel, stride=stride)
    return made


@linear(cost=per_window(1, inputs), effort=per_place(2, inputs), memory=arrays(2), batch_last=with_dims, analytic=True)
def _window_spread(input: Tensor, *, sizes: Sizes, dims: Sizes, kernel: Sizes, stride: Sizes) -> Type:
    """The transpose of `_window_sum`: each element is added to all positions of its window along `dims`."""
    return Type(input.dtype, resized(input.shape, dims, sizes))


@_window_spread.kernel
def _(input: np.ndarray, *, sizes: Sizes, dims: Sizes, kernel: Sizes, stride: Sizes) -> np.ndarray:
    total = np.zeros(resized(input.shape, dims, sizes), input.dtype)
    counts = tuple(input.shape[dim] for dim in dims)
    for where in cuts(dims, counts, kernel, stride, (1,) * len(dims)):
        if kernel == stride:
            total[where] = input
        else:
            total[where] += input
    return total


@_window_spread.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, sizes: Sizes, dims: Sizes, kernel: Sizes, stride: Sizes) -> Tensor:
    made: Tensor = _window_sum(grad, dims=dims, kernel=kernel, stride=stride)
    return made


@primitive(differentiable=False, cost=per_result(2), effort=per_result(10), memory=arrays(5))
def _counted(*, count: int, kernel: int, stride: int, first: int, low: int, high: int, dtype: DType) -> Type:
    """The number of positions in [low, high) of each window along a dimension; the first window starts at `first`."""
    return Type(dtype, (count,))


@_counted.kernel
def _(*, count: int, kernel: int, stride: int, first: int, low: int, high: int, dtype: DType) -> np.ndarray:
    start = np.arange(count) * stride + first
    return (np.minimum(start + kernel, high) - np.maximum(start, low)).astype(dtype.numpy)


def window_sum(input: Tensor, kernel: Sizes, stride: Sizes) -> Tensor:
    """The sum of each window over the last dimensions: (*, *sizes) -> (*, *counts)."""
    made: Tensor = _window_sum(input, dims=tuple(range(-len(kernel), 0)), kernel=kernel, stride=stride)
    return made


def _divisor(placed: PoolArguments, count_include_pad: bool, dtype: DType) -> Tensor | int:
    """Return the number of elements that each window counts: never the elements after the padding."""
    each = []
    for size, k, step, padding, count in zip(
        placed.sizes, placed.kernel, placed.stride, placed.padding, placed.counts, strict=True
    ):
        low, high = (-padding, size + padding) if count_include_pad else (0, size)
        whole = -padding >= low and (count - 1) * step - padding + k <= high
        each.append(
            k
            if whole
            else _counted(count=count, kernel=k, stride=step, first=-padding, low=low, high=high, dtype=dtype)
        )
    return over_dimensions(each)


def over_dimensions(each: Sequence[Tensor | int]) -> Tensor | int:
    """Return the product of one factor of each dimension: a number, or a value for each window."""
    product: Tensor | int = 1
    for position, along in enumerate(each):
        behind = len(each) - 1 - position
        product = product * (reshaped(along, (along.numel, *(1,) * behind)) if isinstance(along, Tensor) else along)
    return product


@spatial_op(
    omitted={1: {"divisor_override"}},
    samples={
        1: (sample(real(2, 2, 6), 2), sample(real(2, 7), 3, 2, 1, True, False)),
        2: (
            sample(real(2, 2, 4, 4), 2),
            sample(real(2, 5, 6), (3, 2), (2, 1), (1, 0), True, False),
            sample(real(1, 1, 4, 5), 3, 2, 1, True),
            sample(real(1, 1, 3, 3), 2, 1, divisor_override=3),
        ),
        3: (sample(real(1, 2, 2, 4, 2), 2), sample(real(1, 3, 3, 3), 2, 2, 1, True, False)),
    },
)
def avg_pool(
    input: Tensor,
    kernel_size: Numbers,
    stride: Numbers | None = None,
    padding: Numbers = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    dims: int,
) -> Tensor:
    """The mean of each window over {images}.

    The default of `stride` is `kernel_size`. With `ceil_mode`, the last window may extend beyond the end. Padding
    counts as zeros, or not at all if `count_include_pad` is false. In two and three dimensions, `divisor_override`
    replaces the number of elements of a window as the divisor. Source: torch.nn.functional.avg_pool{dims}d.
    """
    placed = pool(input, dims, kernel_size, stride, padding, 1, ceil_mode)
    if input.dtype is not int64:  # PyTorch rounds int64 means towards 0
        require_floating(input)
    if divisor_override == 0:
        raise OpError("range", "divisor_override is 0", "Give another number, or leave it out.", "divisor_override")
    total = window_sum(placed.padded(input, 0), placed.kernel, placed.stride)
    divisor = _divisor(placed, count_include_pad, input.dtype) if divisor_override is None else divisor_override
    return placed.restored(div(total, divisor, rounding_mode="trunc" if input.dtype is int64 else None))
