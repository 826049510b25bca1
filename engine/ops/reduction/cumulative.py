"""Cumulative sums and products along a dimension, and the product of all elements.

Gradients of a product are exact at zero elements, to any order, because they never divide. An element's gradient is the
product of the elements before it and of the elements after it, both cumulative products. The gradient of a cumulative
product is a linear recurrence, and the gradient of a linear recurrence is a linear recurrence.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack

from engine.graph.graph import Node, Tensor, Type
from engine.graph.op import op
from engine.graph.primitive import linear, primitive
from engine.graph.promotion import as_tensor
from engine.graph.samples import integers, real, sample
from engine.graph.traits import CALL, along_dims, arrays, moves, per_input
from engine.graph.types import DType, wrap_dim
from engine.ops.checks import require_floating
from engine.ops.elementwise.exponential import exp
from engine.ops.kernels.reduce import reduced_shape
from engine.ops.reduction.sums import reduction_dtype
from engine.ops.shape.movement import reshaped, same

# Primitives: each result has the input's shape; `reverse` runs from the last element to the first.


def _wide(array: np.ndarray) -> np.dtype:
    """Return the dtype of the accumulator: float64 for floating inputs. Source: PyTorch's acc_type."""
    return np.dtype(np.float64) if array.dtype.kind == "f" else array.dtype


def _directed(array: np.ndarray, dim: int, reverse: bool) -> np.ndarray:
    return np.flip(array, dim) if reverse else array


@linear(cost=per_input(1), effort=along_dims(15), memory=arrays(2), analytic=True)
def _cumsum(input: Tensor, *, dim: int, reverse: bool) -> Type:
    return Type(input.dtype, input.shape)


@_cumsum.kernel
def _(input: np.ndarray, *, dim: int, reverse: bool) -> np.ndarray:
    sums = _directed(input, dim, reverse).astype(_wide(input))  # one pass, faster than converting inside cumsum
    np.cumsum(sums, axis=dim, out=sums)
    return _directed(sums, dim, reverse).astype(input.dtype, copy=False)


@_cumsum.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, dim: int, reverse: bool) -> Tensor:
    return _cumsum(grad, dim=dim, reverse=not reverse)


@linear(cost=moves, memory=arrays(2), analytic=True)
def _shifted(input: Tensor, *, dim: int, reverse: bool) -> Type:
    """The elements shifted up by one index (down, in reverse); a zero fills the gap."""
    return Type(input.dtype, input.shape)


@_shifted.kernel
def _(input: np.ndarray, *, dim: int, reverse: bool) -> np.ndarray:
    result = np.zeros_like(input)
    _directed(np.moveaxis(result, dim, 0), 0, reverse)[1:] = _directed(np.moveaxis(input, dim, 0), 0, reverse)[:-1]
    return result


@_shifted.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, dim: int, reverse: bool) -> Tensor:
    return _shifted(grad, dim=dim, reverse=not reverse)


def _effort_of_recurrence(node: Node) -> int:
    """Sequential additions, plus calls for each step or for each sequence, whichever are fewer."""
    numel, steps = node.inputs[1].numel, node.inputs[1].shape[node.params["dim"]]
    return 300 * numel + 4 * CALL * min(steps, numel // max(steps, 1))


@primitive(cost=per_input(2), effort=_effort_of_recurrence, memory=arrays(2))
def _recurrence(decay: Tensor, input: Tensor, *, dim: int, reverse: bool) -> Type:
    """y[k] = input[k] + decay[k] * y[k - 1], where y[-1] is 0."""
    return Type(input.dtype, input.shape)


@_recurrence.kernel
def _(decay: np.ndarray, input: np.ndarray, *, dim: int, reverse: bool) -> np.ndarray:
    a = _directed(np.ascontiguousarray(np.moveaxis(decay, dim, 0)), 0, reverse)
    result = np.moveaxis(input, dim, 0).astype(np.float64, order="C")  # a copy, which becomes the result
    y = _directed(result, 0, reverse)
    steps, width = len(y), y[0].size if len(y) else 0
    if steps <= width:
        for k in range(1, steps):
            y[k] += a[k] * y[k - 1]
    else:
        for index in np.ndindex(y.shape[1:]):
            y[(slice(None), *index)] = _solved_recurrence(a[(slice(None), *index)], y[(slice(None), *index)])
    return np.moveaxis(result, 0, dim).astype(input.dtype)


def _solved_recurrence(decay: np.ndarray, input: np.ndarray) -> np.ndarray:
    """Solve the recurrence of one long row as a bidiagonal system."""
    bands = np.ones((2, len(input)))
    np.negative(decay[1:], out=bands[1, :-1])
    solution: np.ndarray = lapack.dtbtrs(bands, input[:, None], uplo="L", diag="U")[0]
    return solution[:, 0]


@_recurrence.vjp
def _(grad: Tensor, out: Tensor, decay: Tensor, input: Tensor, *, dim: int, reverse: bool) -> tuple[Tensor, Tensor]:
    """The adjoint is a recurrence in the opposite direction, with the decay shifted by one index."""
    back = _recurrence(_shifted(decay, dim=dim, reverse=not reverse), grad, dim=dim, reverse=not reverse)
    return back * _shifted(out, dim=dim, reverse=reverse), back


@primitive(cost=per_input(1), effort=along_dims(15), memory=arrays(2))
def _cumprod(input: Tensor, *, dim: int, reverse: bool, exclusive: bool) -> Type:
    """Cumulative products; with `exclusive`, each without its own element."""
    return Type(input.dtype, input.shape)


@_cumprod.kernel
def _(input: np.ndarray, *, dim: int, reverse: bool, exclusive: bool) -> np.ndarray:
    directed = _directed(np.moveaxis(input, dim, 0), 0, reverse)
    result = np.empty_like(input)
    products = _directed(np.moveaxis(result, dim, 0), 0, reverse)
    if exclusive:
        products[:1] = 1
        products[1:] = np.cumprod(directed[:-1], axis=0, dtype=_wide(input))
    else:
        products[...] = np.cumprod(directed, axis=0, dtype=_wide(input))
    return result


@_cumprod.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, dim: int, reverse: bool, exclusive: bool) -> Tensor:
    """The product of the elements before, times a sum over the later results of the products in between."""
    before = out if exclusive else _cumprod(input, dim=dim, reverse=reverse, exclusive=True)
    if exclusive:
        sums = _recurrence(input, grad, dim=dim, reverse=not reverse)
        return before * _shifted(sums, dim=dim, reverse=not reverse)
    later = _shifted(input, dim=dim, reverse=not reverse)
    return before * _recurrence(later, grad, dim=dim, reverse=not reverse)


@primitive(cost=per_input(1), effort=along_dims(2), memory=arrays(2))
def _prod(input: Tensor, *, dim: int, keepdim: bool) -> Type:
    return Type(input.dtype, reduced_shape(input.shape, (dim,), keepdim))


@_prod.kernel
def _(input: np.ndarray, *, dim: int, keepdim: bool) -> np.ndarray:
    dtype = np.float32 if input.dtype == np.float16 else input.dtype
    product = np.prod(input, axis=dim, keepdims=keepdim, dtype=dtype)
    return np.asarray(product).astype(input.dtype, copy=False)


@_prod.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, dim: int, keepdim: bool) -> Tensor:
    before = _cumprod(input, dim=dim, reverse=False, exclusive=True)
    after = _cumprod(input, dim=dim, reverse=True, exclusive=True)
    return reshaped(grad, reduced_shape(input.shape, (dim,), keepdim=True)) * (before * after)


@primitive(cost=per_input(22), effort=per_input(300), memory=arrays(2))
def _logcumsumexp(input: Tensor, *, dim: int) -> Type:
    return Type(input.dtype, input.shape)


@_logcumsumexp.kernel
def _(input: np.ndarray, *, dim: int) -> np.ndarray:
    return np.logaddexp.accumulate(input.astype(_wide(input)), axis=dim).astype(input.dtype, copy=False)


@_logcumsumexp.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, dim: int) -> Tensor:
    """sum over j >= k of grad[j] exp(input[k] - out[j]). `out` never decreases, so that all factors are at most 1."""
    steps = _shifted(out, dim=dim, reverse=False) - out
    decay = exp(_shifted(steps, dim=dim, reverse=True))  # the last is 1, never infinite
    return exp(input - out) * _recurrence(decay, grad, dim=dim, reverse=True)


# Ops

_CUMULATIVE_SAMPLES = (
    sample(real(2, 4), 1),
    sample(real(3, 2), 0),
    sample(real(4), -1),
    sample(real(), 0),
    sample(real(0, 3), 1),
    sample(integers(5, 3), 0),
)


@op(samples=_CUMULATIVE_SAMPLES)
def cumsum(input: Tensor, dim: int, *, dtype: DType | None = None) -> Tensor:
    """Cumulative sums along `dim`. Integers are summed in int64. Source: torch.cumsum."""
    axis = wrap_dim(dim, input.ndim)
    operand = as_tensor(input, reduction_dtype(input, dtype))
    return _cumsum(operand, dim=axis, reverse=False) if input.ndim else same(operand)


@op(samples=_CUMULATIVE_SAMPLES)
def cumprod(input: Tensor, dim: int, *, dtype: DType | None = None) -> Tensor:
    """Cumulative products along `dim`. Integers are multiplied in int64. Source: torch.cumprod."""
    axis = wrap_dim(dim, input.ndim)
    operand = as_tensor(input, reduction_dtype(input, dtype))
    return _cumprod(operand, dim=axis, reverse=False, exclusive=False) if input.ndim else same(operand)


@op(samples=(sample(real(2, 4), 1), sample(real(3, 2), 0), sample(real(), 0)))
def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """Logarithm of the cumulative sums of exponentials along `dim`, without overflow. Source: torch.logcumsumexp."""
    axis = wrap_dim(dim, input.ndim)
    require_floating(input)
    return _logcumsumexp(input, dim=axis) if input.ndim else same(input)


@op(
    grad_fn=lambda given, out: f"ProdBackward{0 if given.get('dim') is None else 1}",
    samples=(
        sample(real(2, 3)),
        sample(real(2, 3), 1),
        sample(real(3, 2), 0, True),
        sample(real()),
        sample(real(3, 0), 1),
        sample(integers(5, 3)),
    ),
)
def prod(input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """Product along `dim`, or of all elements. Integers are multiplied in int64. Source: torch.prod."""
    operand = as_tensor(input, reduction_dtype(input, dtype))
    if dim is None:
        return _prod(reshaped(operand, (input.numel,)), dim=-1, keepdim=False)
    axis = wrap_dim(dim, input.ndim)
    return _prod(operand, dim=axis, keepdim=keepdim) if input.ndim else same(operand)
