"""Softmax and its logarithm along one dimension; the largest element is subtracted first to avoid overflow."""

from __future__ import annotations

import numpy as np

from engine.graph.graph import Tensor, Type
from engine.graph.op import op
from engine.graph.primitive import primitive
from engine.graph.promotion import as_tensor
from engine.graph.samples import real, sample
from engine.graph.signature import offered_dtype
from engine.graph.signs import Sign
from engine.graph.traits import along_dims, arrays, known, per_input
from engine.graph.types import DType, float64, wrap_dim
from engine.ops.checks import require_floating
from engine.ops.elementwise.exponential import exp
from engine.ops.kernels.precision import in_single
from engine.ops.kernels.reduce import along_rows
from engine.ops.reduction.sums import summed
from engine.ops.shape.movement import reshaped

_SAMPLES = (
    sample(real(2, 3), 1),
    sample(real(2, 3, 2), -2),
    sample(real(3), 0, dtype=float64),
    sample(real(), 0),
    sample(real(0, 3), 1),
)


def _largest(x: np.ndarray, dim: int) -> np.ndarray:
    return np.asarray(np.maximum.reduce(x, axis=dim, keepdims=True, initial=-np.inf))


def _is_moderate(x: np.ndarray) -> bool:
    """Whether exponentials of all elements, and their sums, are far from overflow and underflow.

    Then no subtraction is necessary, which takes as long as the rest and adds a rounding.
    """
    if not x.size or x.dtype.char not in _MODERATE:
        return False
    bound = _MODERATE[x.dtype.char]
    return bool(np.maximum.reduce(x, axis=None) <= bound and np.minimum.reduce(x, axis=None) >= -bound)


_MODERATE = {"f": 64.0, "d": 512.0}
"""Bounds by dtype: the square of `exp(bound)` and the sum of an array are finite."""


def _run_softmax(input: np.ndarray, *, dim: int, empty: bool) -> np.ndarray:
    if _is_moderate(input):
        return _divided(np.exp(input), dim)
    return _shifted_softmax(input, np.empty_like(input), dim, empty)


def _shifted_softmax(input: np.ndarray, out: np.ndarray, dim: int, empty: bool) -> np.ndarray:
    """Write the softmax of arbitrary elements to `out`; the largest element of each row is subtracted first."""
    largest = _largest(input, dim)
    if empty:
        largest[largest == -np.inf] = 0
    np.subtract(input, largest, out=out)
    return _divided(np.exp(out, out=out), dim, empty)


def _divided(weights: np.ndarray, dim: int, empty: bool = False) -> np.ndarray:
    """Divide by sums along `dim`, in place; not by a sum of 0 if rows may be `empty`."""
    total = along_rows(weights) if dim == -1 else np.add.reduce(weights, axis=dim, keepdims=True)
    if empty:
        total[total == 0] = 1
    weights /= total
    return weights


def softmax_of_visible(scores: np.ndarray, mask: np.ndarray | None) -> None:
    """Replace scores by their softmax along the last axis, in place; a row without visible scores has weights 0.

    The mask broadcasts to the scores. A bool mask is true for visible scores; any other mask is added.
    """
    visible = mask if mask is not None and mask.dtype == np.bool_ else None
    if mask is not None and visible is None:
        scores += mask
    if not _is_moderate(scores):
        if visible is not None:
            np.copyto(scores, -np.inf, where=~visible)
        _shifted_softmax(scores, scores, -1, empty=True)
        return
    np.exp(scores, out=scores)
    if visible is not None:
        scores *= visible.astype(scores.dtype)
    _divided(scores, -1, empty=visible is not None)


@primitive(cost=per_input(17), effort=along_dims(20, 2), memory=arrays(2), sign=known(Sign.POSITIVE))
def _softmax(input: Tensor, *, dim: int, empty: bool) -> Type:
    """Softmax along a negative dim. If every element is -inf, the result is NaN, or 0 if rows may be `empty`."""
    return Type(input.dtype, input.shape)


_softmax.kernel(in_single(_run_softmax))


@_softmax.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, dim: int, empty: bool) -> Tensor:
    weighted = grad * out
    return weighted - out * summed(weighted, (dim,), keepdim=True)


def _run_log_softmax(input: np.ndarray, *, dim: int) -> np.ndarray:
    shifted = np.subtract(input, _largest(input, dim))
    shifted -= np.log(np.add.reduce(np.exp(shifted), axis=dim, keepdims=True))
    return shifted


@primitive(cost=per_input(13), effort=along_dims(20, 2), memory=arrays(2))
def _log_softmax(input: Tensor, *, dim: int) -> Type:
    return Type(input.dtype, input.shape)


_log_softmax.kernel(in_single(_run_log_softmax))


@_log_softmax.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, dim: int) -> Tensor:
    return grad - exp(out) * summed(grad, (dim,), keepdim=True)


def softmax_of_scores(input: Tensor) -> Tensor:
    """Softmax along the last dimension; a row of -inf only (masked) has weights 0."""
    return _softmax(input, dim=-1, empty=True)


def log_softmax_along(input: Tensor, dim: int) -> Tensor:
    """The logarithm of softmax along a negative dim."""
    return _log_softmax(input, dim=dim)


def _operand(input: Tensor, dtype: DType | None) -> Tensor:
    """Return the input in the requested dtype, with at least one dimension."""
    operand = input if dtype is None else as_tensor(input, offered_dtype(dtype, "dtype"))
    require_floating(operand, "input" if dtype is None else "dtype")
    return operand if operand.ndim else reshaped(operand, (1,))


@op(samples=_SAMPLES)
def softmax(input: Tensor, dim: int, *, dtype: DType | None = None) -> Tensor:
    """`exp(input) / sum(exp(input))` along `dim`, computed in `dtype` if it is given.

    Source: torch.nn.functional.softmax, whose guess of an absent `dim` is deprecated and not offered.
    """
    weights = _softmax(_operand(input, dtype), dim=wrap_dim(dim, input.ndim), empty=False)
    return reshaped(weights, input.shape)


@op(samples=_SAMPLES)
def log_softmax(input: Tensor, dim: int, *, dtype: DType | None = None) -> Tensor:
    """The logarithm of `softmax`, without its rounding. Source: torch.nn.functional.log_softmax."""
    return reshaped(_log_softmax(_operand(input, dtype), dim=wrap_dim(dim, input.ndim)), input.shape)


@op(samples=_SAMPLES)
def softmin(input: Tensor, dim: int, *, dtype: DType | None = None) -> Tensor:
    """`softmax` of minus the input. Source: torch.nn.functional.softmin."""
    return softmax(-input, dim, dtype=dtype)
