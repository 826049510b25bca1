"""im2col kernels of convolution and its two transposes, on batch-last images. Used by `engine.ops.windows.correlation`.

Each window becomes a column of a matrix, and matrix products do the arithmetic. With the batch last, copies have long
contiguous runs. If a row of results is long enough, windows are extracted along one axis only: the columns of a row of
results are then contiguous, so a 5 x 5 kernel copies the images 5 times, not 25. Source: Cho and Brand 2017, "MEC:
Memory-efficient Convolution for Deep Neural Network".

Columns are created for as many images or rows at a time as fit in the cache, never for the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from engine.graph.threads import CORES, shared

Array = np.ndarray[Any, Any]
Sizes = tuple[int, ...]

BLOCK = 2**21
"""Bytes of columns that are created at a time; products read them row by row.

A smaller block fits the second-level cache, but rows shared by two blocks are copied twice, and calls cost more.
"""

LONG = 2**8
"""Minimum number of elements of a row of results for a separate product."""

WORTH_CORES = 2**24
"""Minimum number of multiplications to use several cores: 400 us on one core in float32.

Waking a thread takes 70 us, and each NumPy call of a part may wait for the interpreter lock.
"""

_EACH = (slice(None), slice(None))
"""The index of all images and channels."""


class Slide(NamedTuple):
    """The geometry of a sliding window: kernel sizes, stride and dilation."""

    kernel: Sizes
    stride: Sizes
    dilation: Sizes

    def rows(self, results: slice) -> slice:
        """Return the rows of images that rows of results depend on."""
        reach = self.dilation[0] * (self.kernel[0] - 1) + 1
        return slice(results.start * self.stride[0], (results.stop - 1) * self.stride[0] + reach)

    def places(self, counts: Sizes) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:
        """Yield each window position along the last dimensions, with the index that selects it from all windows."""
        dims = len(counts)
        last = [sizes[len(sizes) - dims :] for sizes in self]
        for place in product(*map(range, last[0])):
            each = zip(place, counts, last[1], last[2], strict=True)
            yield place, tuple(slice(k * d, k * d + (count - 1) * s + 1, s) for k, count, s, d in each)


class Layout(NamedTuple):
    """The size of a block of columns: the number of `images`, the rows of results, and the `bytes`.

    `by_row`: each row of results is a separate product.
    """

    by_row: bool
    images: int
    rows: int
    bytes: int


def layout(batch: int, channels: int, counts: Sizes, n: int, itemsize: int, slide: Slide) -> Layout:
    """Return the layout of columns for results (batch, o, *counts, n)."""
    (high, *_), (step, *_), (gap, *_) = slide
    length = prod(counts[1:]) * n
    by_row = len(counts) > 1 and high > 1 and gap == 1 and length >= LONG
    line = channels * prod(slide.kernel[1:]) * length * itemsize
    each, more, least = (line * step, line * max(high - step, 0), -(-high // step)) if by_row else (line * high, 0, 1)
    rows = min(max((BLOCK - more) // each, least), counts[0])
    size = rows * each + more
    images = min(max(BLOCK // size, 1), batch) if rows == counts[0] else 1
    return Layout(by_row, images, rows, images * size)


def most_bytes(batch: int, channels: int, counts: Sizes, n: int, itemsize: int, slide: Slide, work: int) -> int:
    """Return an upper bound on the bytes of columns on all cores at a time, also if the whole batch is part of `n`."""
    if not work:
        return 0
    shares = CORES if work >= WORTH_CORES else 1
    apart, together = (layout(b, channels, counts, n * batch // b, itemsize, slide) for b in (batch, 1))
    return shares * max(apart.bytes, together.bytes)


# Kernels


def correlated(images: Array, weights: Array, counts: Sizes, slide: Slide) -> Array:
    """Return the correlation of images with weights.

    Shapes: images (b, c, *sizes, n), weights (b, o, c, *kernel) -> (b, o, *counts, n).
    """
    b, o, c = weights.shape[:3]
    results = np.empty((b, o, *counts, images.shape[-1]), images.dtype)
    work = results.size * c * prod(slide.kernel)
    if not work:
        return np.zeros_like(results)
    how = layout(b, c, counts, images.shape[-1], images.itemsize, slide)
    factors = _factors(weights, how)[:, None]

    def run(batch: slice, rows: slice) -> None:
        for some, part in _blocks(batch, rows, how):
            columns = _columns(images[some, :, slide.rows(part)], (part.stop - part.start, *counts[1:]), slide, how)
            np.matmul(factors[some], columns, out=_products(results[some, :, part], how))

    shared(run, _shares(b, counts[0], work))
    return results


def spread(results: Array, weights: Array, sizes: Sizes, slide: Slide) -> Array:
    """The transpose for images: (b, o, *counts, n), weights (b, o, c, *kernel) -> (b, c, *sizes, n)."""
    b, _, c = weights.shape[:3]
    images = np.zeros((b, c, *sizes, results.shape[-1]), results.dtype)
    work = results.size * c * prod(slide.kernel)

    def run(batch: slice, channels: slice) -> None:
        _add_windows(images[batch, channels], results[batch], weights[batch, :, channels], slide)

    if work:
        shared(run, _shares(b, c, work))
    return images


def weighed(images: Array, results: Array, slide: Slide) -> Array:
    """The transpose for weights: (b, c, *sizes, n), results (b, o, *counts, n) -> (b, o, c, *kernel)."""
    b, c = images.shape[:2]
    work = results.size * c * prod(slide.kernel)
    weights = (np.empty if work else np.zeros)((b, results.shape[1], c, *slide.kernel), images.dtype)

    def run(batch: slice, channels: slice) -> None:
        _weigh(weights[batch, :, channels], images[batch, channels], results[batch], slide)

    if work:
        shared(run, _shares(b, c, work))
    return weights


def _weigh(weights: Array, images: Array, results: Array, slide: Slide) -> None:
    """Write the weights (b, o, c, *kernel): products of results with columns, summed block by block."""
    counts = results.shape[2:-1]
    how = layout(len(images), images.shape[1], counts, images.shape[-1], images.itemsize, slide)
    for some, part in _blocks(slice(0, len(images)), slice(0, counts[0]), how):
        columns = _columns(images[some, :, slide.rows(part)], (part.stop - part.start, *counts[1:]), slide, how)
        products = _products(results[some, :, part], how)
        if how.by_row:
            found = _weights_by_row(weights[some], columns, products)
        else:
            found = np.matmul(products[:, 0], columns[:, 0].swapaxes(-1, -2)).reshape(weights[some].shape)
        if part.start:
            weights[some] += found
        else:
            weights[some] = found


def _weights_by_row(like: Array, columns: Array, products: Array) -> Array:
    """Return the sum over rows of results, in the shape of the weights.

    In BLAS a product with a tall, narrow result takes half as long as its transpose.
    """
    b, o, c, high, *others = like.shape
    together = max(BLOCK // (like[0].size * like.itemsize), 1)
    turned = products.swapaxes(-1, -2)
    total = np.matmul(columns[:, :together], turned[:, :together]).sum(1)
    for row in range(together, columns.shape[1], together):
        rows = slice(row, row + together)
        total += np.matmul(columns[:, rows], turned[:, rows]).sum(1)
    return np.moveaxis(total.reshape(b, high, c, *others, o), (-1, 2), (1, 2))


def _add_windows(images: Array, results: Array, weights: Array, slide: Slide) -> None:
    """Add the contribution of each result element to its window of the images, block by block."""
    counts, n = results.shape[2:-1], images.shape[-1]
    how = layout(len(images), images.shape[1], counts, n, images.itemsize, slide)
    factors = _factors(weights, how).swapaxes(-1, -2)
    add = _add_lines if how.by_row else _add_columns
    for some, part in _blocks(slice(0, len(images)), slice(0, counts[0]), how):
        add(images[some, :, slide.rows(part)], results[some, :, part], factors[some], slide)


def _add_columns(images: Array, results: Array, factors: Array, slide: Slide) -> None:
    """Add the columns, (b, c, *kernel, *counts, n), one window position at a time."""
    b, o, *counts, n = results.shape
    columns = _product(factors, results.reshape(b, o, prod(counts) * n))
    split = columns.reshape(*images.shape[:2], *slide.kernel, *counts, n)
    for place, where in slide.places(tuple(counts)):
        images[(*_EACH, *where)] += split[(*_EACH, *place)]


def _add_lines(images: Array, results: Array, factors: Array, slide: Slide) -> None:
    """Add the lines of the by-row layout: (b, lines, c, *kernel[1:], *counts[1:], n)."""
    b, c, *_, n = images.shape
    counts = results.shape[3:-1]
    lines = _lines(factors, results.reshape(*results.shape[:3], prod(counts) * n).swapaxes(1, 2), slide)
    split = lines.reshape(b, -1, c, *slide.kernel[1:], *counts, n).swapaxes(1, 2)
    for place, where in slide.places(counts):
        images[(*_EACH, slice(None), *where)] += split[(*_EACH, slice(None), *place)]


def _lines(factors: Array, products: Array, slide: Slide) -> Array:
    """(b, high * depth, o), (b, rows, o, length) -> (b, lines, depth, length): each row contributes to `high` lines."""
    b, rows, _, length = products.shape
    (high, *_), (step, *_), _ = slide
    depth = factors.shape[1] // high
    lines = np.zeros((b, (rows - 1) * step + high, depth, length), products.dtype)
    for line in range(high):
        given = _product(factors[:, None, line * depth : (line + 1) * depth], products)
        lines[:, line : line + (rows - 1) * step + 1 : step] += given
    return lines


def _product(a: Array, b: Array) -> Array:
    """Return the matrix product; an outer product does not use BLAS, which takes several times as long."""
    made: Array = np.multiply(a, b) if a.shape[-1] == 1 else np.matmul(a, b)
    return made


# Columns and their blocks


def _factors(weights: Array, how: Layout) -> Array:
    """(b, o, c, *kernel) -> (b, o, products), in column order; in the by-row layout, window rows precede channels."""
    ordered = np.ascontiguousarray(weights.swapaxes(2, 3)) if how.by_row else weights
    return ordered.reshape(*weights.shape[:2], prod(weights.shape[2:]))


def _products(results: Array, how: Layout) -> Array:
    """Return a view of results (b, o, *counts, n) in the shape of the products, (b, rows or 1, o, length)."""
    b, o, rows, *others = results.shape
    if how.by_row:
        return results.reshape(b, o, rows, prod(others)).swapaxes(1, 2)
    return results.reshape(b, 1, o, rows * prod(others))


def _columns(images: Array, counts: Sizes, slide: Slide, how: Layout) -> Array:
    """(b, c, *sizes, n) -> (b, rows or 1, products, length): each window as a column."""
    length = prod(counts[1:]) * images.shape[-1]
    depth = images.shape[1] * prod(slide.kernel)
    if not how.by_row:
        return windows_of(images, counts, slide).reshape(len(images), 1, depth, counts[0] * length)
    lines = np.ascontiguousarray(windows_of(images, counts[1:], slide).swapaxes(1, 2))
    batch, line, *_, item = lines.strides
    strides = (batch, *jumps((line,), slide.stride[:1], counts[:1]), length * item, item)
    return np.lib.stride_tricks.as_strided(lines, (len(images), counts[0], depth, length), strides, writeable=False)


def jumps(steps: Sizes, factors: Sizes, counts: Sizes) -> Sizes:
    """Return the strides of dimensions of `counts` items, `factors` times `steps` apart; 0 for a single item.

    The stride of a single item has no meaning, and it may be larger than any array.
    """
    return tuple(step * factor if n > 1 else 0 for step, factor, n in zip(steps, factors, counts, strict=True))


def windows_of(images: Array, counts: Sizes, slide: Slide) -> Array:
    """Return the windows of an array as a view: (*, *sizes, n) -> (*, *kernel, *counts, n).

    The windows slide over `sizes`, the last dimensions before n, of which there are as many as `counts`.
    """
    lead = images.ndim - 1 - len(counts)
    kernel, stride, dilation = (numbers[len(numbers) - len(counts) :] for numbers in slide)
    before, (*steps, last) = images.strides[:lead], images.strides[lead:]
    inner = (*jumps(tuple(steps), dilation, kernel), *jumps(tuple(steps), stride, counts))
    shape = (*images.shape[:lead], *kernel, *counts, images.shape[-1])
    return np.lib.stride_tricks.as_strided(images, shape, (*before, *inner, last), writeable=False)


def _blocks(batch: slice, rows: slice, how: Layout) -> Iterator[tuple[slice, slice]]:
    """Yield the blocks of a share: ranges of the batch and of the rows of results."""
    for first in range(batch.start, batch.stop, how.images):
        for top in range(rows.start, rows.stop, how.rows):
            yield slice(first, min(first + how.images, batch.stop)), slice(top, min(top + how.rows, rows.stop))


def _shares(batch: int, others: int, work: int) -> list[tuple[slice, slice]]:
    """Return the shares that cores run in parallel: ranges of the batch, or of the other axis if that is longer.

    They do not depend on the number of idle cores, so that sums are equal under load.
    """
    if work >= WORTH_CORES and batch >= CORES:
        return [(part, slice(0, others)) for part in _cuts(batch)]
    if work >= WORTH_CORES and others >= CORES:
        return [(slice(0, batch), part) for part in _cuts(others)]
    return [(slice(0, batch), slice(0, others))]


def _cuts(size: int) -> list[slice]:
    """Return a range for each core."""
    return [slice(start, stop) for start, stop in pairwise([size * part // CORES for part in range(CORES + 1)])]
