"""Variance and standard deviation, optionally together with the mean."""

from __future__ import annotations

import math

import numpy as np

from engine.errors import OpError
from engine.graph.graph import Tensor, Type
from engine.graph.op import elementwise, op
from engine.graph.primitive import primitive
from engine.graph.promotion import floating
from engine.graph.samples import real, sample
from engine.graph.signs import Sign, Singular
from engine.graph.traits import along_dims, arrays, known, magnitude, per_input
from engine.graph.types import Number
from engine.ops.elementwise.comparison import eq
from engine.ops.elementwise.selection import where
from engine.ops.kernels.reduce import Dims, reduced_shape, total
from engine.ops.reduction.sums import count_of, dims_of, mean, restored, summed


@primitive(cost=per_input(4), effort=along_dims(8, 2), memory=arrays(4), sign=known(Sign.NOT_NEGATIVE))
def _var(input: Tensor, *, dims: Dims, correction: float, keepdim: bool) -> Type:
    return Type(input.dtype, reduced_shape(input.shape, dims, keepdim))


@_var.kernel
def _(input: np.ndarray, *, dims: Dims, correction: float, keepdim: bool) -> np.ndarray:
    """Two passes; the second corrects the rounding of the mean. Source: Chan, Golub and LeVeque 1983, (1.7)."""
    values = input.astype(np.float32) if input.dtype == np.float16 else input
    count = math.prod(input.shape[dim] for dim in dims)
    deviations = values - total(values, dims, keepdim=True) / values.dtype.type(count)
    rest = total(deviations, dims, keepdim)
    squares = total(np.square(deviations, out=np.empty_like(values)), dims, keepdim)
    degrees = values.dtype.type(max(count - correction, 0))
    return np.asarray((squares - rest * rest / values.dtype.type(count)) / degrees).astype(input.dtype, copy=False)


@_var.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, dims: Dims, correction: float, keepdim: bool) -> Tensor:
    count = count_of(input, dims)
    degrees = count - correction
    deviations = input - summed(input, dims, keepdim=True) / count
    return restored(grad, input.shape, dims, keepdim) * deviations * (2 / degrees if degrees else math.inf)


@elementwise(np.sqrt, floating, analytic=False, sign=magnitude, singular=Singular(safe=Sign.NOT_NEGATIVE))
def _root(input: Tensor) -> Tensor:
    """Square root with derivative 0 at 0, for the deviation of equal elements. Source: torch.std."""


@_root.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    at_zero = eq(out, 0)
    return where(at_zero, 0.0, grad / where(at_zero, 1.0, out * 2))


Dim = int | tuple[int, ...] | bool | None


def _variance(input: Tensor, dim: Dim, unbiased: bool | None, keepdim: bool, correction: Number | None) -> Tensor:
    """The variance for the arguments of both of PyTorch's signatures."""
    if not input.dtype.is_differentiable:
        raise OpError(
            "dtype", f"a variance of {input.dtype} is not defined", "Give the tensor a floating dtype.", "input"
        )
    dims = dims_of(None if isinstance(dim, bool) else dim, input)
    biased = (dim if isinstance(dim, bool) else unbiased) is False
    subtracted = correction if correction is not None else 0 if biased else 1
    return _var(input, dims=dims, correction=subtracted, keepdim=keepdim)


def _same_dims(dim: Dim) -> int | tuple[int, ...] | None:
    """Return the dims from the first argument, which may also be `unbiased`."""
    return None if isinstance(dim, bool) else dim


_SAMPLES = (
    sample(real(2, 3)),
    sample(real(2, 3), 1),
    sample(real(2, 3, 2), (0, -1), keepdim=True),
    sample(real(2, 3), 0, correction=0),
    sample(real(2, 4), 1, False),
    sample(real(2, 3), False),
)


@op(samples=_SAMPLES)
def var(
    input: Tensor,
    dim: Dim = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """Variance over `dim`, or of all elements: squared deviations summed and divided by (count - `correction`).

    The default `correction` is 1. `unbiased=False` sets it to 0 and may be passed in place of `dim`. Source: torch.var.
    """
    return _variance(input, dim, unbiased, keepdim, correction)


@op(samples=_SAMPLES)
def std(
    input: Tensor,
    dim: Dim = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """Standard deviation over `dim`, or of all elements: the root of var, with derivative 0 at 0. Source: torch.std."""
    return _root(_variance(input, dim, unbiased, keepdim, correction))


@op(samples=_SAMPLES)
def var_mean(
    input: Tensor,
    dim: Dim = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Variance and mean over `dim`, or of all elements. Source: torch.var_mean."""
    return var(input, dim, unbiased, keepdim, correction=correction), mean(input, _same_dims(dim), keepdim)


@op(samples=_SAMPLES)
def std_mean(
    input: Tensor,
    dim: Dim = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Standard deviation and mean over `dim`, or of all elements. Source: torch.std_mean."""
    return std(input, dim, unbiased, keepdim, correction=correction), mean(input, _same_dims(dim), keepdim)
