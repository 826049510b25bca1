"""Sums, means, logsumexp and logical reductions. Other ops use `summed`, `sum_to`, `restored` and `dims_of`."""

from __future__ import annotations

import numpy as np

from engine.errors import OpError
from engine.graph.graph import Node, Tensor, Type, builder
from engine.graph.kernel import Lowered
from engine.graph.op import op
from engine.graph.primitive import Primitive, linear, primitive
from engine.graph.promotion import as_tensor
from engine.graph.samples import boolean, integers, real, sample
from engine.graph.signature import offered_dtype
from engine.graph.traits import along_dims, arrays, least, per_input
from engine.graph.types import DType, Shape, bool_, float16, int64, numel, uint8, wrap_dims
from engine.ops.elementwise.comparison import eq, ne
from engine.ops.elementwise.exponential import exp
from engine.ops.elementwise.selection import where
from engine.ops.kernels.reduce import MANY, Dims, reduced_shape, total
from engine.ops.shape.movement import expanded, reshaped


def restored(reduced: Tensor, shape: Shape, dims: Dims, keepdim: bool) -> Tensor:
    """A reduction's result (or its cotangent), reshaped to broadcast to the input of `shape`: reduced sizes are 1."""
    return reduced if keepdim else reshaped(reduced, reduced_shape(shape, dims, keepdim=True))


@linear(sums=True, cost=per_input(1), effort=along_dims(1), memory=arrays(1), analytic=True, sign=least)
def _sum(input: Tensor, *, dims: Dims, keepdim: bool) -> Type:
    return Type(input.dtype, reduced_shape(input.shape, dims, keepdim))


_sum.kernel(total)


_ADD_UP = np.add.reduce  # one object for all nodes


@_sum.lowering
def _(node: Node) -> Lowered | None:
    """A direct call of the ufunc, equal to `total` for few elements."""
    input, dims, keepdim = node.inputs[0], node.params["dims"], node.params["keepdim"]
    if input.numel >= MANY or not input.shape or not dims or input.dtype is float16:
        return None
    return Lowered(_ADD_UP, (dims, input.dtype.numpy, None, keepdim))


@_sum.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, dims: Dims, keepdim: bool) -> Tensor:
    return expanded(restored(grad, input.shape, dims, keepdim), input.shape)


def summed(input: Tensor, dims: Dims, keepdim: bool = False) -> Tensor:
    """Sum over negative `dims`, in the input's dtype."""
    return _sum(input, dims=dims, keepdim=keepdim) if dims else input


def sum_to(input: Tensor, shape: Shape) -> Tensor:
    """Sum over the dimensions broadcast from `shape`; a cotangent smaller than `shape` is expanded instead."""
    rank = len(shape)
    leading = tuple(range(-input.ndim, -rank)) if input.ndim > rank else ()
    total = summed(input, leading)
    broadcast = tuple(dim for dim in range(-total.ndim, 0) if shape[dim] == 1 and total.shape[dim] != 1)
    return expanded(summed(total, broadcast, keepdim=True), shape)


def reduction_dtype(input: Tensor, dtype: DType | None) -> DType:
    """Return the dtype of sums and products: `dtype` if given, int64 for integers. Source: torch.sum."""
    if dtype is not None:
        return offered_dtype(dtype, "dtype")
    return input.dtype if input.dtype.is_differentiable else int64


def mean_dtype(input: Tensor, dtype: DType | None) -> DType:
    """Return the dtype of a mean. Raises OpError if it is not floating."""
    wanted = dtype or input.dtype
    if not wanted.is_differentiable:
        raise OpError(
            "dtype",
            f"a mean of {wanted} is not defined",
            "Give dtype a floating one, or convert the input.",
            "dtype" if dtype else "input",
        )
    return offered_dtype(wanted, "dtype")


def dims_of(dim: int | Dims | None, input: Tensor) -> Dims:
    """Return the dims to reduce; an empty tuple means all of them, as in PyTorch."""
    return wrap_dims(None if dim == () else dim, input.ndim)


def count_of(input: Tensor, dims: Dims) -> int:
    """Return the number of elements that a reduction over `dims` combines into one."""
    return numel(tuple(input.shape[dim] for dim in dims))


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
    return _sum(operand, dims=dims_of(dim, input), keepdim=keepdim)


@op(grad_fn=lambda given, out: f"MeanBackward{0 if given.get('dim') is None else 1}", samples=_DIM_SAMPLES)
def mean(
    input: Tensor, dim: int | tuple[int, ...] | None = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """Arithmetic mean over `dim`, or over all dimensions. Source: torch.mean."""
    operand = as_tensor(input, mean_dtype(input, dtype))
    dims = dims_of(dim, input)
    return _sum(operand, dims=dims, keepdim=keepdim) / count_of(input, dims)


@op(grad_fn="NansumBackward0", samples=_DIM_SAMPLES)
def nansum(
    input: Tensor, dim: int | tuple[int, ...] | None = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """Sum over `dim`, or over all dimensions, with NaN counted as zero. Source: torch.nansum."""
    return sum(where(ne(input, input), 0, input), dim, keepdim, dtype=dtype)


@op(samples=_DIM_SAMPLES)
def nanmean(
    input: Tensor, dim: int | tuple[int, ...] | None = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """Mean of the elements that are not NaN, over `dim` or over all dimensions. Source: torch.nanmean."""
    operand = as_tensor(input, mean_dtype(input, dtype))
    known = as_tensor(eq(input, input), operand.dtype)
    return nansum(operand, dim, keepdim) / sum(known, dim, keepdim)


# Sums of exponentials


@primitive(cost=per_input(12), effort=along_dims(15, 2), memory=arrays(3))
def _logsumexp(input: Tensor, *, dims: Dims, keepdim: bool) -> Type:
    return Type(input.dtype, reduced_shape(input.shape, dims, keepdim))


@_logsumexp.kernel
def _(input: np.ndarray, *, dims: Dims, keepdim: bool) -> np.ndarray:
    """Shifted by the maximum if it is finite; otherwise the exponentials are 0 and infinity without a shift."""
    values = input.astype(np.float32) if input.dtype == np.float16 else input
    peak = np.max(values, axis=dims, keepdims=True, initial=-np.inf)
    shift = np.where(np.isinf(peak), values.dtype.type(0), peak)
    exponentials = np.empty_like(values)
    np.exp(np.subtract(values, shift, out=exponentials), out=exponentials)
    result = np.log(total(exponentials, dims, keepdim=True)) + shift
    return result.reshape(reduced_shape(result.shape, dims, keepdim)).astype(input.dtype, copy=False)


@_logsumexp.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, dims: Dims, keepdim: bool) -> Tensor:
    weights = exp(input - restored(out, input.shape, dims, keepdim))
    return restored(grad, input.shape, dims, keepdim) * weights


@op(samples=(sample(real(2, 3), 1), sample(real(2, 3, 2), (0, -1), True), sample(real(), 0)))
def logsumexp(input: Tensor, dim: int | tuple[int, ...], keepdim: bool = False) -> Tensor:
    """Logarithm of the sum of exponentials over `dim`, without overflow. Source: torch.logsumexp."""
    operand = input if input.dtype.is_differentiable else as_tensor(input, builder().default_dtype)
    return _logsumexp(operand, dims=dims_of(dim, input), keepdim=keepdim)


# Logical reductions


@primitive(differentiable=False, cost=per_input(1), effort=along_dims(1), memory=arrays(2))
def _any(input: Tensor, *, dims: Dims, keepdim: bool) -> Type:
    return Type(bool_, reduced_shape(input.shape, dims, keepdim))


@_any.kernel
def _(input: np.ndarray, *, dims: Dims, keepdim: bool) -> np.ndarray:
    return np.asarray(np.any(input, axis=dims, keepdims=keepdim))


@primitive(differentiable=False, cost=per_input(1), effort=along_dims(1), memory=arrays(2))
def _all(input: Tensor, *, dims: Dims, keepdim: bool) -> Type:
    return Type(bool_, reduced_shape(input.shape, dims, keepdim))


@_all.kernel
def _(input: np.ndarray, *, dims: Dims, keepdim: bool) -> np.ndarray:
    return np.asarray(np.all(input, axis=dims, keepdims=keepdim))


_TRUTH_SAMPLES = (
    sample(boolean(2, 3)),
    sample(boolean(2, 3, 2), (0, 2), True),
    sample(real(2, 3), 1),
    sample(integers(3, 3)),
)


def _truth(reduction: Primitive, input: Tensor, dim: int | Dims | None, keepdim: bool) -> Tensor:
    """Reduce over `dim`; an empty tuple reduces no dimension here. uint8 stays uint8. Source: torch.all."""
    truth: Tensor = reduction(input, dims=wrap_dims(dim, input.ndim), keepdim=keepdim)
    return as_tensor(truth, uint8) if input.dtype is uint8 else truth


@op(samples=_TRUTH_SAMPLES)
def any(input: Tensor, dim: int | tuple[int, ...] | None = None, keepdim: bool = False) -> Tensor:
    """Whether any element over `dim`, or of all, is true (not zero). Source: torch.any."""
    return _truth(_any, input, dim, keepdim)


@op(samples=_TRUTH_SAMPLES)
def all(input: Tensor, dim: int | tuple[int, ...] | None = None, keepdim: bool = False) -> Tensor:
    """Whether all elements over `dim`, or of all, are true (not zero). Source: torch.all."""
    return _truth(_all, input, dim, keepdim)


@op(samples=(sample(integers(3, 2, 3)), sample(boolean(2, 3, 2), (0, 2)), sample(real(2, 3), 1)))
def count_nonzero(input: Tensor, dim: int | tuple[int, ...] | None = None) -> Tensor:
    """The number of nonzero elements over `dim`, or of all, as int64. Source: torch.count_nonzero."""
    return sum(ne(input, 0), dim)
