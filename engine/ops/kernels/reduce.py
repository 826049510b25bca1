"""How arrays are reduced over some axes: where NumPy's own loops would be slow, or round more than they need.

Kernels of sums, means, norms and extrema call `total` and `largest`.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from engine.graph.types import Shape, numel

Dims = tuple[int, ...]

MANY = 2**14
"""Elements from which on the way of reducing is looked at: for fewer the look costs more than it gains."""

_ROWS = 128
"""Rows that are added one to the other: as many as NumPy adds elements where it sums along memory."""

_SHORT_SUM, _SHORT_EXTREMUM = 8, 16
"""Lengths up to which it is faster to go through a last axis column by column than row by row, 40 times at length 2."""


@functools.lru_cache(maxsize=1024)
def reduced_shape(shape: Shape, dims: Dims, keepdim: bool) -> Shape:
    """Return the shape after a reduction over negative `dims`."""
    sizes = enumerate(shape, -len(shape))
    if keepdim:
        return tuple(1 if dim in dims else size for dim, size in sizes)
    return tuple(size for dim, size in sizes if dim not in dims)


def total(array: np.ndarray, dims: Dims, keepdim: bool = False) -> Any:
    """The sum of an array over some axes, in its dtype; half precision is summed in single."""
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
"""Length up to which sums along memory are BLAS's: it is thrice as fast, and adds what 16 or more lanes have summed."""


def along_rows(array: np.ndarray) -> np.ndarray:
    """The sum of each row, kept as a dimension of size 1: (*batch, n) -> (*batch, 1), float32 or float64."""
    if array.shape[-1] > LONGEST or array.ndim < 2:
        return np.asarray(np.add.reduce(array, axis=-1, keepdims=True))
    return np.matmul(array, np.ones((array.shape[-1], 1), array.dtype))


def extremum(ufunc: np.ufunc, array: np.ndarray, dims: Dims, keepdim: bool = False) -> Any:
    """The largest or smallest elements over some axes, as np.maximum or np.minimum says."""
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
    """Return a view (batch, rows, length) whose many rows are what is to be added up, or None if there is none."""
    if not dims or -1 in dims or max(dims) - min(dims) >= len(dims) or not array.flags.c_contiguous:
        return None
    first, last = min(dims), max(dims)
    count = numel(array.shape[first : last + 1])
    if count < 2 * _ROWS:
        return None
    return array.reshape(-1, count, numel(array.shape[last + 1 :]))


def _total_of_rows(rows: np.ndarray) -> np.ndarray:
    """Add 128 far apart rows at a time, which rounds less than adding all to one sum, and is faster for short rows."""
    while (step := rows.shape[1] // _ROWS) > 1:
        even = step * _ROWS
        sums = rows[:, :even].reshape(len(rows), _ROWS, step, -1).sum(axis=1, dtype=rows.dtype)
        if even < rows.shape[1]:
            sums[:, 0] += rows[:, even:].sum(axis=1, dtype=rows.dtype)
        rows = sums
    return np.asarray(rows.sum(axis=1, dtype=rows.dtype))
