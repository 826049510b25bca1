"""Matrix products with NumPy: operands in layouts that BLAS accepts, and work divided between cores.

`engine.execute.numpy.kernels` and the lowering use them.
"""

from __future__ import annotations

from itertools import pairwise
from types import EllipsisType

import numpy as np

from engine.graph.graph import Node
from engine.graph.kernel import Lowered
from engine.graph.threads import CORES, shared
from engine.graph.types import float32, float64, numel

SMALL = 2**12
"""Number of elements of all three matrices up to which the call costs about as much as the arithmetic."""

WORTH_CORES = 2**23
"""Minimum number of multiplications (n k m) to use several cores: 170 us on one core in float32."""


def product(input: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(*batch, n, k) @ (*batch, k, m) -> (*batch, n, m): equal ranks, batch dimensions broadcast."""
    if input.shape[-1] == 1:  # an outer product: BLAS takes four times as long
        outer: np.ndarray = np.multiply(input, other)
        return outer
    a, b = _for_blas(input), _for_blas(other)
    if a.ndim == 2:
        return _in_parts(a, b)
    if numel(b.shape[:-2]) == 1:
        rows = _in_parts(a.reshape(numel(a.shape[:-1]), a.shape[-1]), b.reshape(b.shape[-2:]))
        folded = rows.reshape(*a.shape[:-1], b.shape[-1])
    elif b.shape[-1] == 1 and numel(a.shape[:-2]) == 1:  # one matrix and many vectors: the rows of one product
        rows = _in_parts(b.reshape(numel(b.shape[:-2]), b.shape[-2]), a.reshape(a.shape[-2:]).T)
        folded = rows.reshape(*b.shape[:-2], a.shape[-2], 1)
    else:
        folded = _in_parts(a, b)
    return np.broadcast_to(folded, (*np.broadcast_shapes(input.shape[:-2], other.shape[:-2]), *folded.shape[-2:]))


def _in_parts(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the product; each core writes its part of one result.

    The divided axis is a batch axis, the rows or columns of the result, or the summed axis if it is much longer.
    """
    (n, k), m = a.shape[-2:], b.shape[-1]
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    if numel(batch) * n * k * m < WORTH_CORES or CORES == 1:
        whole: np.ndarray = np.matmul(a, b)
        return whole
    result = np.empty((*batch, n, m), a.dtype)
    for axis, size in enumerate(batch, -result.ndim):
        if size >= CORES:
            pieces = [(_cut(a, axis, at), _cut(b, axis, at), _cut(result, axis, at)) for at in _cuts(size)]
            break
    else:
        if k > 4 * max(n, m):
            terms = shared(np.matmul, [(_cut(a, -1, at), _cut(b, -2, at)) for at in _cuts(k)])
            total: np.ndarray = np.add.reduce(terms)
            return total
        if n >= m:
            pieces = [(_cut(a, -2, at), b, _cut(result, -2, at)) for at in _cuts(n)]
        else:
            pieces = [(a, _cut(b, -1, at), _cut(result, -1, at)) for at in _cuts(m)]
    shared(np.matmul, pieces)
    return result


def two_products(
    input: np.ndarray, other: np.ndarray, second_input: np.ndarray, second_other: np.ndarray
) -> list[np.ndarray]:
    """Return the products of two pairs of matrices, float32 or float64, computed in parallel on one core each."""
    return shared(np.matmul, [tuple(map(_for_blas, pair)) for pair in ((input, other), (second_input, second_other))])


def _cuts(size: int) -> list[slice]:
    """Return a range for each core."""
    ends = [size * part // CORES for part in range(CORES + 1)]
    return [slice(start, stop) for start, stop in pairwise(ends)]


def _cut(array: np.ndarray, axis: int, at: slice) -> np.ndarray:
    """Return a view of a range of a negative axis; the whole array if it broadcasts along this axis."""
    if -axis > array.ndim or array.shape[axis] == 1:
        return array
    index: tuple[EllipsisType | slice, ...] = (..., at, *(slice(None),) * (-1 - axis))
    return array[index]


def _for_blas(array: np.ndarray) -> np.ndarray:
    """Return the matrices with strides that BLAS accepts. Without BLAS, NumPy's product is fifteen times slower.

    Broadcast batch axes become axes of size 1. Contiguous matrices and their transposes are not copied.
    """
    if 0 in array.strides[:-2]:
        array = array[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in array.strides[:-2])]
    rows, columns = array.strides[-2:]
    size, (n, m) = array.itemsize, array.shape[-2:]
    if (columns == size and rows >= m * size) or (rows == size and columns >= n * size):
        return array
    return np.ascontiguousarray(array)


def small_product(node: Node) -> Lowered | None:
    """Return `dot` for two small matrices, otherwise None.

    `dot` copies operands that BLAS does not accept, and a call takes half the time of matmul.
    """
    input, other = node.inputs
    small = input.ndim == 2 and input.numel + other.numel + node.outputs[0].numel <= SMALL
    return Lowered(np.ndarray.dot) if small and input.dtype in (float32, float64) else None
