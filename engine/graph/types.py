"""Dtypes, shapes, promotion and broadcasting.

The functions use types only, not values, and follow PyTorch's rules. Ops call them while a graph is typed.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from engine.errors import OpError

Shape = tuple[int, ...]
Number = bool | int | float | complex


class Category(IntEnum):
    """The categories of PyTorch's promotion, in ascending order."""

    BOOL = 0
    INTEGER = 1
    FLOAT = 2
    COMPLEX = 3


@dataclass(frozen=True, slots=True, eq=False)
class DType:
    """An element type. There is one object per dtype, so `is` compares dtypes.

    `is_floating` is true for real floating-point dtypes, `is_integral` for integer dtypes (not for `bool`, as in
    PyTorch's arithmetic). A tensor can require a gradient if its dtype `is_differentiable`: floating or complex.
    """

    name: str
    category: Category
    numpy: np.dtype
    itemsize: int
    is_floating: bool
    is_complex: bool
    is_integral: bool
    is_differentiable: bool

    def __repr__(self) -> str:
        return self.name


def _dtype(name: str, category: Category) -> DType:
    return DType(
        name,
        category,
        np.dtype(name),
        np.dtype(name).itemsize,
        is_floating=category is Category.FLOAT,
        is_complex=category is Category.COMPLEX,
        is_integral=category is Category.INTEGER,
        is_differentiable=category >= Category.FLOAT,
    )


bool_ = _dtype("bool", Category.BOOL)
uint8 = _dtype("uint8", Category.INTEGER)
int8 = _dtype("int8", Category.INTEGER)
int16 = _dtype("int16", Category.INTEGER)
int32 = _dtype("int32", Category.INTEGER)
int64 = _dtype("int64", Category.INTEGER)
float16 = _dtype("float16", Category.FLOAT)
float32 = _dtype("float32", Category.FLOAT)
float64 = _dtype("float64", Category.FLOAT)
complex64 = _dtype("complex64", Category.COMPLEX)
complex128 = _dtype("complex128", Category.COMPLEX)

DTYPES: dict[str, DType] = {
    dtype.name: dtype
    for dtype in (bool_, uint8, int8, int16, int32, int64, float16, float32, float64, complex64, complex128)
}

_TO_COMPLEX = {float16: complex64, float32: complex64, float64: complex128}


def complex_of(dtype: DType) -> DType:
    """Return the complex dtype with parts of `dtype` (for float16 it is complex64)."""
    return _TO_COMPLEX.get(dtype, dtype)


def _promote(a: DType, b: DType) -> DType:
    if a is b:
        return a
    low, high = sorted((a, b), key=lambda dtype: (dtype.category, dtype.itemsize))
    if low.category is high.category:
        if low is uint8:  # with int8 the result is int16; wider signed dtypes hold uint8
            return int16 if high is int8 else high
        if high is uint8:
            return int16
        return high
    if high.is_complex and low.is_floating:
        return _promote(complex_of(low), high)
    return high


_PROMOTED = {(a, b): _promote(a, b) for a in DTYPES.values() for b in DTYPES.values()}


def promote(a: DType, b: DType) -> DType:
    """Return the promoted dtype of two tensors of equal priority. Source: torch.promote_types."""
    return _PROMOTED[a, b]


def number_dtype(value: Number, default: DType) -> DType:
    """Return the dtype of a Python number. `default` is the floating dtype of the graph."""
    if isinstance(value, bool):
        return bool_
    if isinstance(value, int):
        return int64
    return complex_of(default) if isinstance(value, complex) else default


def _combine(strong: DType | None, weak: DType | None) -> DType | None:
    """Return the dtype of two operands. The weaker one counts only if its category is higher.

    Source: c10's combine_categories.
    """
    if strong is None or weak is None:
        return strong or weak
    if strong.category >= weak.category:
        return strong
    if strong.is_floating and weak.is_complex:
        return complex_of(strong)
    return promote(strong, weak)


def result_type(tensors: Iterable[tuple[DType, Shape]], numbers: Iterable[Number], default: DType) -> DType:
    """Return the dtype of the result of an operation.

    Tensors with dimensions have priority over 0-d tensors, and 0-d tensors over numbers. An operand of lower priority
    counts only if its category is higher. Source: torch.result_type.
    """
    dimensioned: DType | None = None
    scalar: DType | None = None
    for dtype, shape in tensors:
        if shape:
            dimensioned = dtype if dimensioned is None else promote(dimensioned, dtype)
        else:
            scalar = dtype if scalar is None else promote(scalar, dtype)
    weak: DType | None = None
    for number in numbers:
        dtype = number_dtype(number, default)
        weak = dtype if weak is None else promote(weak, dtype)
    result = _combine(dimensioned, _combine(scalar, weak))
    if result is None:
        raise OpError("missing_argument", "an operation needs at least one operand", "Give it a tensor.")
    return result


def numel(shape: Shape) -> int:
    """Return the number of elements of a tensor of this shape."""
    return math.prod(shape)


def broadcast_shapes(shapes: Sequence[Shape]) -> Shape:
    """Return the broadcast shape of `shapes`. Raises OpError if they do not broadcast."""
    first = shapes[0]
    return first if shapes.count(first) == len(shapes) else _broadcast(*shapes)


@functools.lru_cache(maxsize=1024)
def _broadcast(*shapes: Shape) -> Shape:
    rank = max(map(len, shapes))
    result = [1] * rank
    for shape in shapes:
        offset = rank - len(shape)
        for axis, size in enumerate(shape, offset):
            if size == 1 or size == result[axis]:
                continue
            if result[axis] != 1:
                listed = " and ".join(str(list(shape)) for shape in shapes)
                raise OpError(
                    "shape_mismatch",
                    f"shapes {listed} do not broadcast: dimension {axis - rank} has sizes {result[axis]} and {size}",
                    "Two sizes of a dimension, counted from the last, must be equal or one of them 1; "
                    "reshape, unsqueeze or expand one operand.",
                )
            result[axis] = size
    return tuple(result)


def wrap_dim(dim: int, rank: int, argument: str = "dim") -> int:
    """Return `dim` counted from the end (-rank to -1), so that leading batch axes do not change it.

    A 0-d tensor accepts 0 and -1, as in PyTorch. Raises OpError if `dim` is out of range.
    """
    bound = max(rank, 1)
    if not -bound <= dim < bound:
        raise OpError(
            "dim_out_of_range",
            f"{argument} {dim} is out of range for a tensor of {rank} dimensions",
            f"Use a value from {-bound} to {bound - 1}.",
            argument,
        )
    return dim - bound if dim >= 0 else dim


def wrap_dims(dims: int | Sequence[int] | None, rank: int, argument: str = "dim") -> tuple[int, ...]:
    """Return dims counted from the end, sorted. None means all dims. Raises OpError if a dim is repeated."""
    if dims is None:
        return tuple(range(-rank, 0))
    given = (dims,) if isinstance(dims, int) else tuple(dims)
    wrapped = [wrap_dim(dim, rank, argument) for dim in given]
    if len(set(wrapped)) < len(wrapped):
        raise OpError(
            "repeated_dim", f"{argument} {list(given)} names a dimension twice", "Name each dimension once.", argument
        )
    return tuple(sorted(dim for dim in wrapped if rank))
