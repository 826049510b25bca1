"""Reductions of arrays over axes, where NumPy's own loops are slow or round more than necessary.

Kernels of sums, means, norms and extrema call `total` and `extremum`.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from engine.graph.types import Shape, numel

Dims = tuple[int, ...]

MANY = 2**14
"""Minimum number of elements for choosing a reduction method: for fewer, the choice costs more than it gains."""

_ROWS = 128
"""Number of rows added sequentially: the number of elements that NumPy adds sequentially in a contiguous sum."""

_SHORT_SUM, _SHORT_EXTREMUM = 8, 16
"""Lengths of a last axis up to which reducing by columns is faster than by rows: 40 times at length 2."""


@functools.lru_cache(maxsize=1024)
def reduced_shape(shape: Shape, dims: Dims, keepdim: bool) -> Shape:
    """Return the shape after a reduction over negative `dims`."""
    sizes = enumerate(shape, -len(shape))
    if keepdim:
        return tuple(1 if dim in dims else size for dim, size in sizes)
    return tuple(size for dim, size in sizes if dim not in dims)


def total(array: np.ndarray, dims: Dims, keepdim: bool = False) -> Any:
    """Return the sum of an array over some axes, in its dtype; float16 is summed in float32."""
    if array.dtype.char == "e":
        return total(array.astype(np.float32), dims, keepdim).astype(np.float16)
    if array.size >= MANY:
        if dims == (-1,) and 1 < array.shape[-1] <= _SHORT_SUM:
            return _by_columns(np.add, array, keepdim)
        rows = _rows(array, dims)
        if rows is not None:
            return _total_of_rows(rows).reshape(reduced_shape(array.shape, dims, keepdim))
    return array.sum(axis=dims, keepdims=keepdim, dtype=array.dtype)


LONGEST = 2**12
"""Length up to which contiguous sums use BLAS: it is three times as fast, and sums in 16 or more lanes."""


def along_rows(array: np.ndarray) -> np.ndarray:
    """Return the sum of each row, as a dimension of size 1: (*batch, n) -> (*batch, 1), float32 or float64."""
    if array.shape[-1] > LONGEST or array.ndim < 2:
        return np.asarray(np.add.reduce(array, axis=-1, keepdims=True))
    return np.matmul(array, np.ones((array.shape[-1], 1), array.dtype))


def extremum(ufunc: np.ufunc, array: np.ndarray, dims: Dims, keepdim: bool = False) -> Any:
    """Return the largest (np.maximum) or smallest (np.minimum) elements over some axes."""
    if array.size >= MANY and dims == (-1,) and 1 < array.shape[-1] <= _SHORT_EXTREMUM:
        return _by_columns(ufunc, array, keepdim)
    return ufunc.reduce(array, axis=dims, keepdims=keepdim)


def _by_columns(ufunc: Any, array: np.ndarray, keepdim: bool) -> np.ndarray:
    """Reduce a short last axis."""
    result: np.ndarray = ufunc(array[..., 0], array[..., 1])
    for column in range(2, array.shape[-1]):
        ufunc(result, array[..., column], out=result)
    return result[..., None] if keepdim else result


def _rows(array: np.ndarray, dims: Dims) -> np.ndarray | None:
    """Return a view (batch, rows, length) with many rows to be summed, or None if the array has no such view."""
    if not dims or -1 in dims or max(dims) - min(dims) >= len(dims) or not array.flags.c_contiguous:
        return None
    first, last = min(dims), max(dims)
    count = numel(array.shape[first : last + 1])
    if count < 2 * _ROWS:
        return None
    return array.reshape(-1, count, numel(array.shape[last + 1 :]))


def _total_of_rows(rows: np.ndarray) -> np.ndarray:
    """Add 128 distant rows at a time: this rounds less than one running sum, and is faster for short rows."""
    while (step := rows.shape[1] // _ROWS) > 1:
        even = step * _ROWS
        sums = rows[:, :even].reshape(len(rows), _ROWS, step, -1).sum(axis=1, dtype=rows.dtype)
        if even < rows.shape[1]:
            sums[:, 0] += rows[:, even:].sum(axis=1, dtype=rows.dtype)
        rows = sums
    return np.asarray(rows.sum(axis=1, dtype=rows.dtype))
