"""Leaves, constants, conversion between dtypes, and promotion of operands. Called by ops and the tracer.

A promotion returns the dtype that each operand is converted to, and the dtype of the result. Source: torch.result_type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from engine.errors import OpError
from engine.graph.graph import Tensor, Type, builder
from engine.graph.primitive import linear, primitive
from engine.graph.traits import in_place, moves
from engine.graph.types import DType, Number, Shape, bool_, result_type

Promotion = Callable[[Sequence[Tensor | Number]], tuple[tuple[DType, ...], DType]]
"""Function from operands to the dtype that each is converted to, and the dtype of the result."""

# Leaves, constants and conversion


@primitive(differentiable=False, cost=moves, memory=in_place)
def _leaf(*, source: tuple[str, str], dtype: DType, shape: Shape) -> Type:
    """A tensor with values that are supplied when the graph runs."""
    return Type(dtype, shape)


def leaf(source: tuple[str, str], dtype: DType, shape: Shape, requires_grad: bool = False) -> Tensor:
    """A tensor with values that are supplied when the graph runs. `source` is a member of the request and a name."""
    tensor: Tensor = _leaf(source=source, dtype=dtype, shape=shape)
    tensor.requires_grad = requires_grad
    return tensor


def source_of(tensor: Tensor) -> tuple[str, str]:
    """Return the source of a leaf: the member of the request and the name in it."""
    source: tuple[str, str] = tensor.node.params["source"]
    return source


@primitive(differentiable=False, cost=moves, memory=in_place)
def _constant(*, value: Number, dtype: DType) -> Type:
    return Type(dtype, ())


@_constant.kernel
def _(*, value: Number, dtype: DType) -> Any:
    return dtype.numpy.type(value)


LEAF, CONSTANT = _leaf, _constant


def constant(value: Number, dtype: DType) -> Tensor:
    """A 0-d tensor of a number that is known when the graph is built."""
    key = (type(value), value, dtype)
    known = builder().constants
    made: Tensor | None = known.get(key) if value else None  # 0.0 and -0.0 are equal, but not identical
    if made is None:
        made = known[key] = _constant(value=_cast(value, dtype), dtype=dtype)
    return made


def _cast(value: Number, dtype: DType) -> Number:
    if type(value) is float and dtype.is_floating:
        return value
    if dtype.is_integral:
        if not -(2**63) <= value.real < 2**64:
            raise OpError("overflow", f"{value} does not fit in {dtype}", "Give a smaller number.")
        return int(np.array(int(value.real)).astype(dtype.numpy))  # wraps, as PyTorch's conversions do
    if dtype is bool_:
        return bool(value)
    return value if isinstance(value, complex) else float(value)


@linear(pointwise=True, cost=moves, memory=in_place)
def convert(input: Tensor, *, dtype: DType) -> Type:
    """The same values in another dtype."""
    return Type(dtype, input.shape)


@convert.kernel
def _(input: np.ndarray, *, dtype: DType) -> Any:
    return input.astype(dtype.numpy)


@convert.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, dtype: DType) -> Tensor:
    return convert(grad, dtype=input.dtype)


def as_tensor(operand: Tensor | Number, dtype: DType) -> Tensor:
    """Return the operand as a tensor of `dtype`. A number becomes a constant."""
    if isinstance(operand, Tensor):
        return operand if operand.dtype is dtype else convert(operand, dtype=dtype)
    return constant(operand, dtype)


# Promotion


def promoted(operands: Sequence[Tensor | Number]) -> DType:
    """Return the promoted dtype of the operands by PyTorch's rules."""
    dtype: DType | None = None
    numbers = False
    for operand in operands:
        if type(operand) is not Tensor:
            if type(operand) is complex:
                return _promoted(operands)
            numbers = True
        elif dtype is None:
            dtype = operand.dtype
        elif operand.dtype is not dtype:
            return _promoted(operands)
    if dtype is not None and (dtype.is_differentiable or not numbers):  # floating tensors outrank real numbers
        return dtype
    return _promoted(operands)


def _promoted(operands: Sequence[Tensor | Number]) -> DType:
    return result_type(
        [(operand.dtype, operand.shape) for operand in operands if isinstance(operand, Tensor)],
        [operand for operand in operands if not isinstance(operand, Tensor)],
        builder().default_dtype,
    )


def arithmetic(operands: Sequence[Tensor | Number]) -> tuple[tuple[DType, ...], DType]:
    """The result has the promoted dtype."""
    dtype = promoted(operands)
    return (dtype,) * len(operands), dtype


def numeric(operands: Sequence[Tensor | Number]) -> tuple[tuple[DType, ...], DType]:
    """The result has the promoted dtype, which is not bool."""
    dtype = promoted(operands)
    if dtype is bool_:
        raise OpError("dtype", "this is not defined for bool tensors", "Give one of the operands a number's dtype.")
    return (dtype,) * len(operands), dtype


def floating(operands: Sequence[Tensor | Number]) -> tuple[tuple[DType, ...], DType]:
    """The result is floating: integers and booleans become the default dtype."""
    dtype = promoted(operands)
    if not dtype.is_differentiable:
        dtype = builder().default_dtype
    return (dtype,) * len(operands), dtype


def comparison(operands: Sequence[Tensor | Number]) -> tuple[tuple[DType, ...], DType]:
    """Operands are promoted, the result is bool."""
    return (promoted(operands),) * len(operands), bool_


def logical(operands: Sequence[Tensor | Number]) -> tuple[tuple[DType, ...], DType]:
    """Nonzero operands count as true; the result is bool."""
    return (bool_,) * len(operands), bool_


KEEPING = (arithmetic, numeric, floating)
"""Promotions that do not convert tensors of one differentiable dtype. The result has this dtype."""
