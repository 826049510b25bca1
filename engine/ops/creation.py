"""Ops that create tensors: fills, ranges, the identity. Other ops use `filled`, `fitting` and `counted`."""

from __future__ import annotations

import math

import numpy as np

from engine.errors import OpError
from engine.graph.graph import Node, Tensor, Type, builder
from engine.graph.op import op
from engine.graph.primitive import primitive
from engine.graph.promotion import as_tensor, constant, convert
from engine.graph.samples import integers, real, sample
from engine.graph.signature import offered_dtype
from engine.graph.traits import per_result
from engine.graph.types import DType, Number, Shape, bool_, float64, int64, number_dtype
from engine.ops.elementwise.comparison import lt
from engine.ops.elementwise.selection import where
from engine.ops.shape.diagonals import with_diagonal
from engine.ops.shape.movement import expanded

Real = bool | int | float


def filled(shape: Shape, value: Number, dtype: DType) -> Tensor:
    """A tensor filled with one value: a broadcast scalar."""
    return expanded(constant(value, dtype), shape)


def fitting(value: Number, dtype: DType, argument: str) -> Number:
    """Return a number converted to `dtype`: integers lose fractions. Raises OpError if it is out of range.

    Negative numbers wrap in unsigned dtypes. Source: c10::overflows.
    """
    if dtype is bool_:
        return bool(value)
    real = value.real
    finite = isinstance(real, int) or math.isfinite(real)
    if dtype.is_integral:
        limits = np.iinfo(dtype.numpy)
        lowest = int(limits.min) or -int(limits.max)
        if finite and lowest <= int(real) <= int(limits.max):
            return int(real)
    elif not finite or abs(real) <= float(np.finfo(dtype.numpy).max):
        return value
    raise OpError("overflow", f"{argument} {value} is out of range for {dtype}", "Use a wider dtype.", argument)


def _dtype(dtype: DType | None) -> DType:
    return builder().default_dtype if dtype is None else offered_dtype(dtype, "dtype")


def _like(input: Tensor, dtype: DType | None) -> DType:
    return input.dtype if dtype is None else offered_dtype(dtype, "dtype")


def _sizes(*sizes: int, argument: str = "size") -> Shape:
    if any(size < 0 for size in sizes):
        raise OpError("shape", f"{list(sizes)} has a negative size", "Use sizes of 0 or more.", argument)
    return sizes


# Fills


@op(samples=(sample(2, 3), sample(), sample(0, 3)))
def zeros(*size: int, dtype: DType | None = None) -> Tensor:
    """Zeros. Source: torch.zeros."""
    return filled(_sizes(*size), 0, _dtype(dtype))


@op(samples=(sample(2, 3), sample(), sample(0, 3)))
def ones(*size: int, dtype: DType | None = None) -> Tensor:
    """Ones. Source: torch.ones."""
    return filled(_sizes(*size), 1, _dtype(dtype))


@op(samples=(sample((2, 3), 1.5), sample((), 2), sample((3,), True)))
def full(size: tuple[int, ...], fill_value: Number, *, dtype: DType | None = None) -> Tensor:
    """One number everywhere; by default its kind gives the dtype: bool, int64, floating. Source: torch.full."""
    wanted = number_dtype(fill_value, builder().default_dtype) if dtype is None else offered_dtype(dtype, "dtype")
    return filled(_sizes(*size), fitting(fill_value, wanted, "fill_value"), wanted)


@op(samples=(sample(real(2, 3)), sample(real())))
def zeros_like(input: Tensor, *, dtype: DType | None = None) -> Tensor:
    """Zeros of the input's shape. Source: torch.zeros_like."""
    return filled(input.shape, 0, _like(input, dtype))


@op(samples=(sample(real(2, 3)), sample(real())))
def ones_like(input: Tensor, *, dtype: DType | None = None) -> Tensor:
    """Ones of the input's shape. Source: torch.ones_like."""
    return filled(input.shape, 1, _like(input, dtype))


@op(samples=(sample(real(2, 3), 1.5), sample(integers(5, 2), 2.7)))
def full_like(input: Tensor, fill_value: Number, *, dtype: DType | None = None) -> Tensor:
    """A tensor filled with one number, in the input's shape and dtype. Source: torch.full_like."""
    wanted = _like(input, dtype)
    return filled(input.shape, fitting(fill_value, wanted, "fill_value"), wanted)


@op(samples=(sample(3), sample(2, 3), sample(3, 2), sample(0)))
def eye(n: int, m: int | None = None, *, dtype: DType | None = None) -> Tensor:
    """The identity, or its first `m` columns. `(n, m)`. Source: torch.eye."""
    shape = (*_sizes(n, argument="n"), *_sizes(n if m is None else m, argument="m"))
    return with_diagonal(filled((min(shape),), 1, _dtype(dtype)), shape)


# Ranges


def _workspace_of_arange(node: Node) -> int:
    """Three temporary arrays of 8 bytes for each number, before the conversion to the result's dtype."""
    return 24 * node.outputs[0].shape[-1]


@primitive(differentiable=False, cost=per_result(2), effort=per_result(4), memory=_workspace_of_arange)
def _arange(*, start: Real, step: Real, shape: Shape, dtype: DType) -> Type:
    return Type(dtype, shape)


@_arange.kernel
def _(*, start: Real, step: Real, shape: Shape, dtype: DType) -> np.ndarray:
    steps = np.arange(shape[-1], dtype=np.float64 if dtype.is_floating else np.int64)
    return np.broadcast_to(np.add(np.multiply(steps, step), start).astype(dtype.numpy), shape)


def counted(count: int, dtype: DType = int64) -> Tensor:
    """The integers from 0 to `count - 1`."""
    made: Tensor = _arange(start=0, step=1, shape=(count,), dtype=dtype)
    return made


@op(samples=(sample(5), sample(1, 5, 2), sample(0, 1, 0.3), sample(5, 1, -2), sample(0)))
def arange(start: Real = 0, end: Real | None = None, step: Real = 1, *, dtype: DType | None = None) -> Tensor:
    """`start`, `start + step`, and so on, before `end`; a single number is the end. Source: torch.arange.

    Integers give int64, otherwise the dtype is floating.
    """
    first, last = (0, start) if end is None else (start, end)
    if dtype is None:
        whole = all(isinstance(number, int) for number in (first, last, step))
        dtype = int64 if whole else builder().default_dtype
    if offered_dtype(dtype, "dtype") is bool_:
        raise OpError("dtype", "arange has no bool results", "Give dtype an integer or a floating one.", "dtype")
    if dtype is int64:
        first, last, step = _whole(first, "start"), _whole(last, "end"), _whole(step, "step")
    _require_direction(first, last, step)
    shape = (_steps(first, last, step),)
    if dtype.is_integral:
        first, step = _whole(first, "start"), _whole(step, "step")
    return _arange(start=first, step=step, shape=shape, dtype=dtype)


def _whole(number: float, argument: str) -> int:
    return int(fitting(number, int64, argument).real)


def _require_direction(first: float, last: float, step: float) -> None:
    if not all(math.isfinite(fitting(number, float64, "end").real) for number in (first, last, step)):
        raise OpError("range", f"there is no range from {first} to {last} by {step}", "Use finite numbers.", "end")
    if not step or (last > first and step < 0) or (last < first and step > 0):
        raise OpError(
            "range",
            f"steps of {step} do not lead from {first} to {last}",
            "Give step the sign of end - start, and not 0.",
            "step",
        )


def _steps(first: float, last: float, step: float) -> int:
    """Return the number of elements of a range; exact for integers of any size."""
    if isinstance(first, int) and isinstance(last, int) and isinstance(step, int):
        return -((first - last) // step)
    count = (last - first) / step
    return math.ceil(count) if count < 2**63 else 2**63


@op(
    samples=(
        sample(0, 1, 5),
        sample(1.0, -2.0, 4),
        sample(real(), real(), 4),
        sample(real(), 2.0, 1),
        sample(0, 1, 0),
    )
)
def linspace(start: Tensor | Number, end: Tensor | Number, steps: int, *, dtype: DType | None = None) -> Tensor:
    """`steps` numbers at equal distances from `start` to `end`, both included. Source: torch.linspace.

    The second half is computed backwards from `end`, so that the last number is exact.
    """
    wanted = _dtype(dtype)
    if wanted is bool_:
        raise OpError("dtype", "linspace has no bool results", "Give dtype an integer or a floating one.", "dtype")
    _sizes(steps, argument="steps")
    first, last = _end(start, wanted, "start"), _end(end, wanted, "end")
    if steps == 1:
        return convert(expanded(first, (1,)), dtype=wanted)
    index = counted(steps, float64)
    distance = (last - first) / (steps - 1)
    made = where(lt(index, steps // 2), first + distance * index, last - distance * (steps - 1 - index))
    return as_tensor(made, wanted)


def _end(given: Tensor | Number, dtype: DType, argument: str) -> Tensor:
    """Return an end of the range rounded to the result's dtype, as float64 for the computation."""
    if not isinstance(given, Tensor):
        given = constant(fitting(given, dtype, argument), dtype)
    elif given.ndim:
        raise OpError(
            "rank",
            f"{argument} has shape {list(given.shape)}",
            "Use a number or a tensor without dimensions.",
            argument,
        )
    return as_tensor(as_tensor(given, dtype), float64)
