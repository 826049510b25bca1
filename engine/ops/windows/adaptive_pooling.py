"""Adaptive pooling ops: they pool a given number of parts of nearly equal size, which may overlap.

The parts are concatenated, padded to equal length, and pooled as windows that do not overlap.
"""

from __future__ import annotations

from math import gcd

import numpy as np

from engine.errors import OpError
from engine.graph.graph import Tensor, Type
from engine.graph.op import GradFn
from engine.graph.primitive import primitive
from engine.graph.samples import real, sample
from engine.graph.traits import arrays, per_result
from engine.graph.types import DType, Shape, int64
from engine.ops.checks import require_floating
from engine.ops.indexing.gather import taken
from engine.ops.indexing.slicing import padded
from engine.ops.shape.movement import reshaped
from engine.ops.windows.avg_pooling import over_dimensions, window_sum
from engine.ops.windows.max_pooling import least, window_index, window_max
from engine.ops.windows.spatial import spatial_op
from engine.ops.windows.windows import Sizes, with_batch

OutputSize = int | tuple[int | None, ...]


def _bounds(size: int, parts: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the start and stop of each part. Source: ATen's AdaptivePooling.h."""
    number = np.arange(parts)
    return number * size // parts, -(-(number + 1) * size // parts)


@primitive(differentiable=False, cost=per_result(1), effort=per_result(8), memory=arrays(4))
def _part_index(*, size: int, parts: int, length: int) -> Type:
    """The indices of all parts, concatenated; a part shorter than the longest is padded with `size`."""
    return Type(int64, (parts * length,))


@_part_index.kernel
def _(*, size: int, parts: int, length: int) -> np.ndarray:
    start, stop = _bounds(size, parts)
    index = start[:, None] + np.arange(length)
    return np.where(index < stop[:, None], index, size).reshape(-1)


@primitive(differentiable=False, cost=per_result(1), effort=per_result(20), memory=arrays(4))
def _part_sizes(*, size: int, parts: int, dtype: DType) -> Type:
    """The number of elements of each part."""
    return Type(dtype, (parts,))


@_part_sizes.kernel
def _(*, size: int, parts: int, dtype: DType) -> np.ndarray:
    start, stop = _bounds(size, parts)
    return (stop - start).astype(dtype.numpy)


def _lengths(sizes: Shape, parts: Sizes) -> Sizes:
    """Return the length of the longest part along each dimension, in a time that does not depend on `parts`.

    Part i is from floor(i size / parts) to ceil((i + 1) size / parts). It is longest where the fraction that the floor
    removes is largest: (parts - gcd(size, parts)) / parts.
    """
    return tuple(
        -(-(count - gcd(size, count) + size) // count) if count else 1 for size, count in zip(sizes, parts, strict=True)
    )


def _laid_out(input: Tensor, parts: Sizes, lengths: Sizes, filler: float) -> Tensor:
    """Return the padded parts, concatenated along each of the last dimensions."""
    dims = len(parts)
    for dim, count, length in zip(range(-dims, 0), parts, lengths, strict=True):
        size = input.shape[dim]
        if count * length != size:
            longer = padded(input, tuple((0, int(axis == dim), 0) for axis in range(-dims, 0)), filler)
            input = taken(longer, _part_index(size=size, parts=count, length=length), dim)
    return input


def _parts(input: Tensor, output_size: OutputSize, dims: int) -> Sizes:
    """Return the number of parts of each dimension. Raises OpError if `output_size` is invalid."""
    require_floating(input)
    shape = with_batch(input, dims)
    if 0 in shape[1:]:
        raise OpError(
            "shape_mismatch",
            f"input has shape {list(input.shape)}; only the batch dimension may be empty",
            "Give a larger input.",
            "input",
        )
    given = (output_size,) * dims if isinstance(output_size, int) else output_size
    given = given * dims if len(given) == 1 else given
    if len(given) != dims:
        raise OpError(
            "argument_length",
            f"output_size has {len(given)} numbers, for {dims} spatial dimensions",
            f"Give one number, or {dims}; null keeps a size.",
            "output_size",
        )
    parts = tuple(size if count is None else count for count, size in zip(given, shape[2:], strict=True))
    if min(parts) < 0:
        raise OpError("range", f"output_size {list(parts)} has a negative number", "Use 0 or more.", "output_size")
    return parts


def _restored(result: Tensor, input: Tensor, dims: int) -> Tensor:
    """Return the result without N if the input has no N."""
    return result if input.ndim == dims + 2 else reshaped(result, result.shape[1:])


def _average_grad_fn(dims: int) -> GradFn | None:
    """PyTorch computes a mean if there is a single part, except in one dimension."""
    if dims == 1:
        return None
    return lambda given, out: "MeanBackward1" if set(out.shape[-dims:]) == {1} else f"AdaptiveAvgPool{dims}DBackward0"


@spatial_op(
    grad_fn=_average_grad_fn,
    samples={
        1: (sample(real(2, 2, 5), 3), sample(real(2, 6), (2,))),
        2: (sample(real(2, 2, 5, 4), (3, 2)), sample(real(1, 2, 3), (None, 2)), sample(real(1, 1, 3, 3), 1)),
        3: (sample(real(1, 2, 2, 3, 4), (1, 2, 3)), sample(real(1, 2, 2, 2), 2)),
    },
)
def adaptive_avg_pool(input: Tensor, output_size: OutputSize, *, dims: int) -> Tensor:
    """The means of `output_size` parts of {images}; null keeps a size.

    Source: torch.nn.functional.adaptive_avg_pool{dims}d.
    """
    parts = _parts(input, output_size, dims)
    shape = with_batch(input, dims)
    lengths = _lengths(shape[2:], parts)
    total = window_sum(_laid_out(reshaped(input, shape), parts, lengths, 0), lengths, lengths)
    each = [
        length if size == count * length else _part_sizes(size=size, parts=count, dtype=input.dtype)
        for size, count, length in zip(shape[2:], parts, lengths, strict=True)
    ]
    return _restored(total / over_dimensions(each), input, dims)


@spatial_op(
    grad_fn=lambda dims: None if dims == 1 else f"AdaptiveMaxPool{dims}DBackward0",
    samples={
        1: (sample(real(2, 2, 5), 3), sample(real(2, 6), (2,)), sample(real(2, 2, 5), 3, True)),
        2: (
            sample(real(2, 2, 5, 4), (3, 2)),
            sample(real(1, 2, 3), (None, 2)),
            sample(real(1, 1, 3, 3), 1),
            sample(real(2, 2, 5, 4), (3, 2), True),
        ),
        3: (
            sample(real(1, 2, 2, 3, 4), (1, 2, 3)),
            sample(real(1, 2, 2, 2), 2),
            sample(real(1, 2, 2, 3, 4), (1, 2, 3), True),
        ),
    },
)
def adaptive_max_pool(
    input: Tensor, output_size: OutputSize, return_indices: bool = False, *, dims: int
) -> Tensor | tuple[Tensor, Tensor]:
    """The largest elements of `output_size` parts of {images}, and their indices if asked.

    Source: torch.nn.functional.adaptive_max_pool{dims}d.
    """
    parts = _parts(input, output_size, dims)
    shape = with_batch(input, dims)
    lengths, once = _lengths(shape[2:], parts), (1,) * dims
    laid_out = _laid_out(reshaped(input, shape), parts, lengths, least(input.dtype))
    largest, offset = window_max(laid_out, lengths, lengths, once)
    if not return_indices:
        return _restored(largest, input, dims)
    index = window_index(offset, shape[2:], lengths, (0,) * dims, shape[2:], parts, once)
    return _restored(largest, input, dims), _restored(index, input, dims)
