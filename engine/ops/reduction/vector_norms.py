"""Vector norms, over some dimensions or all.

At zero and at ties of an extremum, gradients equal PyTorch's subgradients: zero at zero, and shared by ties.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from engine.errors import OpError
from engine.graph.graph import Tensor, Type
from engine.graph.op import elementwise, op
from engine.graph.primitive import primitive
from engine.graph.promotion import as_tensor
from engine.graph.samples import real, sample
from engine.graph.signs import Sign, Singular
from engine.graph.traits import along_dims, arrays, known, per_input
from engine.graph.types import DType, wrap_dims
from engine.ops.checks import require_floating
from engine.ops.elementwise.arithmetic import abs, sign, sub
from engine.ops.elementwise.comparison import eq
from engine.ops.elementwise.power import pow
from engine.ops.elementwise.selection import where
from engine.ops.kernels.reduce import Dims, reduced_shape, total
from engine.ops.reduction.extrema import require_elements, ties_with
from engine.ops.reduction.sums import dims_of, restored, summed


@primitive(cost=per_input(2), effort=along_dims(6), memory=arrays(2), sign=known(Sign.NOT_NEGATIVE))
def _vector_norm(input: Tensor, *, ord: float, dims: Dims, keepdim: bool) -> Type:
    return Type(input.dtype, reduced_shape(input.shape, dims, keepdim))


@_vector_norm.kernel
def _(input: np.ndarray, *, ord: float, dims: Dims, keepdim: bool) -> np.ndarray:
    sizes = np.abs(input.astype(np.float32) if input.dtype == np.float16 else input)
    with np.errstate(all="ignore"):
        norm = _norm(sizes, ord, dims)
        if _out_of_range(norm, ord):
            scale = np.max(sizes, axis=dims, keepdims=True, initial=0)
            scale = np.where((scale > 0) & np.isfinite(scale), scale, sizes.dtype.type(1))
            norm = _norm(sizes / scale, ord, dims) * scale
    return np.asarray(norm).astype(input.dtype, copy=False).reshape(reduced_shape(input.shape, dims, keepdim))


def _norm(sizes: np.ndarray, ord: float, dims: Dims) -> Any:
    """The norm of absolute values; reduced dimensions have size 1."""
    if math.isinf(ord):
        return (np.max if ord > 0 else np.min)(sizes, axis=dims, keepdims=True)
    if ord == 0:
        return np.count_nonzero(sizes, axis=dims, keepdims=True).astype(sizes.dtype)
    if ord == 1:
        return total(sizes, dims, keepdim=True)
    if ord == 2:
        return np.sqrt(total(np.square(sizes), dims, keepdim=True))
    return np.power(total(np.power(sizes, sizes.dtype.type(ord)), dims, keepdim=True), sizes.dtype.type(1 / ord))


def _out_of_range(norm: Any, ord: float) -> bool:
    """Whether powers may overflow or underflow, so that the norm needs scaled elements."""
    if math.isinf(ord) or ord in (0, 1):
        return False
    limits = np.finfo(norm.dtype)
    low = (limits.tiny / limits.eps) ** (1 / np.abs(ord))
    return bool(np.any((norm < low) | np.isinf(norm)))


@_vector_norm.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, ord: float, dims: Dims, keepdim: bool) -> Tensor | None:
    """grad * sign(x) * (abs(x) / norm) ** (ord - 1); at zeros and ties, the values of PyTorch's norm_backward."""
    norm = restored(out, input.shape, dims, keepdim)
    share = restored(grad, input.shape, dims, keepdim)
    if ord == 0:
        return None
    if ord == 1:
        return share * sign(input)
    if math.isinf(ord):
        ties = as_tensor(ties_with(abs(input), norm), input.dtype)
        return sign(input) * (share / summed(ties, dims, keepdim=True) * ties)
    return share * _power_norm_slope(input, norm, ord)


def _power_norm_slope(input: Tensor, norm: Tensor, ord: float) -> Tensor:
    """The norm's derivative. At zero it is 0, and its own derivative is NaN, or 0 for `ord` > 2, as in PyTorch."""
    if ord == 2:
        return _quotient(input, norm)
    if ord > 2:
        return sign(input) * pow(abs(input) / where(eq(norm, 0), 1.0, norm), ord - 1)
    ratio = _quotient(abs(input), norm)
    if ord < 1:
        return _quotient(sign(input), pow(ratio, 1 - ord))
    return sign(input) * pow(ratio, ord - 1)


def _run_quotient(input: np.ndarray, other: np.ndarray) -> np.ndarray:
    quotient = np.divide(input, other)
    return np.where(other == 0, quotient.dtype.type(0), quotient)


@elementwise(_run_quotient, weight=8, spare=2, analytic=False, singular=Singular(1))
def _quotient(input: Tensor, other: Tensor) -> Tensor:
    """A quotient that is 0 where the divisor is 0. The derivative there is NaN, as for PyTorch's norms."""


@_quotient.vjp("input")
def _(grad: Tensor, out: Tensor, input: Tensor, other: Tensor) -> Tensor:
    return grad / other


@_quotient.vjp("other")
def _(grad: Tensor, out: Tensor, input: Tensor, other: Tensor) -> Tensor:
    return -grad * (input / other / other)


def in_norm_dtype(input: Tensor, dtype: DType | None, argument: str) -> Tensor:
    """Return the input converted to the dtype of the norm computation."""
    require_floating(input, argument)
    if dtype is None:
        return input
    if not dtype.is_floating or dtype.itemsize < input.dtype.itemsize:
        raise OpError(
            "dtype",
            f"a norm of {input.dtype} cannot be taken in {dtype}",
            "Use a floating dtype that is no narrower than the tensor's.",
            "dtype",
        )
    return as_tensor(input, dtype)


def vector_norm_over(input: Tensor, ord: float, dims: Dims, keepdim: bool) -> Tensor:
    """The norm over negative `dims`."""
    if ord < 0 or ord == math.inf:
        require_elements(input, dims)
    norm: Tensor = _vector_norm(input, ord=float(ord), dims=dims, keepdim=keepdim)
    return norm


@op(
    name="linalg.vector_norm",
    samples=(
        sample(real(2, 3)),
        sample(real(2, 3), 1, 1),
        sample(real(2, 3), 3.5, 0, True),
        sample(real(2, 3, 2), float("inf"), (0, -1)),
        sample(real(2, 3), float("-inf"), 1),
        sample(real(2, 3), 0.5),
        sample(real(2, 3), 0),
        sample(real()),
    ),
)
def vector_norm(
    x: Tensor,
    ord: float = 2,
    dim: int | tuple[int, ...] | None = None,
    keepdim: bool = False,
    *,
    dtype: DType | None = None,
) -> Tensor:
    """Norm over `dim`, or of all elements: sum(abs(x) ** ord) ** (1 / ord); for infinity, the largest absolute
    value; for minus infinity, the smallest; for 0, the number of nonzero elements. Source: torch.linalg.vector_norm.
    """
    return vector_norm_over(in_norm_dtype(x, dtype, "x"), ord, dims_of(dim, x), keepdim)


@op(samples=(sample(real(2, 3), real(2, 3)), sample(real(2, 3), real(3), 1), sample(real(3), real(3), float("inf"))))
def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """Norm of the difference of two tensors over all its elements: a scalar. Source: torch.dist."""
    difference = sub(input, other)
    require_floating(difference)
    return vector_norm_over(difference, p, wrap_dims(None, difference.ndim), keepdim=False)
