"""Sums, means, products, extrema and what is made of them, over some dimensions or all."""

from __future__ import annotations

import numpy as np

from engine.errors import OpError
from engine.graph import Tensor, Type
from engine.op import as_tensor, linear, op
from engine.ops.movement import expanded, reshaped
from engine.samples import real, sample
from engine.signature import offered_dtype
from engine.types import DType, Shape, int64, numel, wrap_dims

Dims = tuple[int, ...]


def reduced_shape(shape: Shape, dims: Dims, keepdim: bool) -> Shape:
    """Return the shape after a reduction over negative `dims`."""
    sizes = enumerate(shape, -len(shape))
    if keepdim:
        return tuple(1 if dim in dims else size for dim, size in sizes)
    return tuple(size for dim, size in sizes if dim not in dims)


def restored(reduced: Tensor, shape: Shape, dims: Dims, keepdim: bool) -> Tensor:
    """A reduction's result (or its cotangent) put back beside its input, of `shape`: reduced dimensions have size 1."""
    return reduced if keepdim else reshaped(reduced, reduced_shape(shape, dims, keepdim=True))


@linear()
def _sum(input: Tensor, *, dims: Dims, keepdim: bool) -> Type:
    return Type(input.dtype, reduced_shape(input.shape, dims, keepdim))


@_sum.kernel
def _(input: np.ndarray, *, dims: Dims, keepdim: bool) -> np.ndarray:
    return input.sum(axis=dims, keepdims=keepdim, dtype=input.dtype)


@_sum.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, dims: Dims, keepdim: bool) -> Tensor:
    return expanded(restored(grad, input.shape, dims, keepdim), input.shape)


def summed(input: Tensor, dims: Dims, keepdim: bool = False) -> Tensor:
    """Sum over negative `dims`, in the input's dtype."""
    return _sum(input, dims=dims, keepdim=keepdim) if dims else input


def sum_to(input: Tensor, shape: Shape) -> Tensor:
    """Sum over what was broadcast from `shape`; a cotangent smaller than its tensor is expanded instead."""
    rank = len(shape)
    leading = tuple(range(-input.ndim, -rank)) if input.ndim > rank else ()
    total = summed(input, leading)
    broadcast = tuple(dim for dim in range(-total.ndim, 0) if shape[dim] == 1 and total.shape[dim] != 1)
    return expanded(summed(total, broadcast, keepdim=True), shape)


def reduction_dtype(input: Tensor, dtype: DType | None) -> DType:
    """Return the dtype that sums and products are taken in: `dtype`, or int64 for integers. Source: torch.sum."""
    if dtype is not None:
        return offered_dtype(dtype, "dtype")
    return input.dtype if input.dtype.is_differentiable else int64


def mean_dtype(input: Tensor, dtype: DType | None) -> DType:
    """Return the dtype that a mean is taken in. Raises OpError where it is not floating."""
    wanted = dtype or input.dtype
    if not wanted.is_differentiable:
        raise OpError(
            "dtype",
            f"a mean of {wanted} is not defined",
            "Give dtype a floating one, or convert the input.",
            "dtype" if dtype else "input",
        )
    return offered_dtype(wanted, "dtype")


_DIM_SAMPLES = (
    sample(real(2, 3)),
    sample(real(2, 3, 2), 1),
    sample(real(2, 3, 2), (0, -1), True),
    sample(real()),
)


@op(grad_fn=lambda given, out: f"SumBackward{0 if given.get('dim') is None else 1}", samples=_DIM_SAMPLES)
def sum(
    input: Tensor, dim: int | tuple[int, ...] | None = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """Sum over `dim`, or over all dimensions. Integers are summed in int64. Source: torch.sum."""
    operand = as_tensor(input, reduction_dtype(input, dtype))
    return _sum(operand, dims=_dims(dim, input), keepdim=keepdim)


@op(grad_fn=lambda given, out: f"MeanBackward{0 if given.get('dim') is None else 1}", samples=_DIM_SAMPLES)
def mean(
    input: Tensor, dim: int | tuple[int, ...] | None = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """Arithmetic mean over `dim`, or over all dimensions. Source: torch.mean."""
    operand = as_tensor(input, mean_dtype(input, dtype))
    dims = _dims(dim, input)
    count = numel(tuple(input.shape[dim] for dim in dims))
    return _sum(operand, dims=dims, keepdim=keepdim) / count


def _dims(dim: int | tuple[int, ...] | None, input: Tensor) -> Dims:
    """Return the dims to reduce: no dims at all mean all of them, as in PyTorch."""
    return wrap_dims(None if dim == () else dim, input.ndim)
