"""Determinants, their logarithms and derivatives, and traces of matrices (*batch, n, n).

A determinant is a polynomial of the elements, so its gradient (the matrix of cofactors) and its second derivative also
exist at singular matrices. Both are computed from the inverse if it is accurate, else from the singular value
decomposition A = U S V^T: cofactors of S are products of all singular values but one (all but two for the second
derivative), and U and V transform them to cofactors of A. Third and higher derivatives need invertible matrices.
Source: Magnus and Neudecker 1999, "Matrix Differential Calculus", section 8.3 and theorem 8.1.
"""

from __future__ import annotations

import numpy as np

from engine.errors import OpError
from engine.graph.graph import Tensor, Type
from engine.graph.op import op
from engine.graph.primitive import primitive
from engine.graph.samples import integers, real, sample, spd
from engine.graph.traits import DIRECT, ITERATIVE, arrays, decomposition, per_matrix
from engine.ops.checks import require_number
from engine.ops.elementwise.arithmetic import zeros_like
from engine.ops.elementwise.comparison import lt
from engine.ops.elementwise.selection import where
from engine.ops.linalg.matmul import product
from engine.ops.linalg.solve import inverse, require_square
from engine.ops.reduction.sums import sum, summed
from engine.ops.shape.diagonals import diagonal_of
from engine.ops.shape.movement import matrix_transpose, reshaped

# Determinant and cofactors


@primitive(cost=decomposition(2 / 3), effort=per_matrix(2 / 3, DIRECT), memory=arrays(2), trailing=2, lapack=True)
def _det(input: Tensor) -> Type:
    return Type(input.dtype, input.shape[:-2])


@_det.kernel
def _(input: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.det(input), input.dtype)


@_det.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return scalars(grad) * _cofactors(input)


def scalars(input: Tensor) -> Tensor:
    """Scalars reshaped to multiply matrices: (*batch) -> (*batch, 1, 1)."""
    return reshaped(input, (*input.shape, 1, 1))


def _accurate_inverses(input: np.ndarray) -> np.ndarray | None:
    """Return the inverses of matrices, or None if one of them is singular or nearly singular."""
    try:
        inverses = np.linalg.inv(input)
    except np.linalg.LinAlgError:
        return None
    condition = np.abs(input).sum(-1).max(-1, initial=0) * np.abs(inverses).sum(-1).max(-1, initial=0)
    return inverses if np.all(condition < 1 / np.sqrt(np.finfo(input.dtype).eps)) else None


def _rotations(input: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return U, S and V^T of the singular value decomposition, and det(U) det(V), which is 1 or -1.

    The sign is NaN for matrices with infinite or NaN elements.
    """
    finite = np.isfinite(input).all(axis=(-2, -1), keepdims=True)
    u, s, vh = np.linalg.svd(np.where(finite, input, input.dtype.type(0)))
    sign = np.rint(np.linalg.det(u) * np.linalg.det(vh))[..., None, None]
    return u, s, vh, np.where(finite, sign, input.dtype.type(np.nan))


def _others(factors: np.ndarray) -> np.ndarray:
    """Return, for each element along the last axis, the product of all other elements."""
    before = np.ones_like(factors)
    after = np.ones_like(factors)
    np.cumprod(factors[..., :-1], axis=-1, out=before[..., 1:])
    np.cumprod(factors[..., :0:-1], axis=-1, out=after[..., -2::-1])
    return before * after


@primitive(cost=decomposition(14), effort=per_matrix(14, ITERATIVE), memory=arrays(2), trailing=2, lapack=True)
def _cofactors(input: Tensor) -> Type:
    """The gradient of the determinant: det(A) A^-T if A is invertible."""
    return Type(input.dtype, input.shape)


@_cofactors.kernel
def _(input: np.ndarray) -> np.ndarray:
    inverses = _accurate_inverses(input)
    if inverses is not None:
        return np.asarray(np.linalg.det(input))[..., None, None] * np.swapaxes(inverses, -1, -2)
    u, s, vh, sign = _rotations(input)
    return sign * ((u * _others(s)[..., None, :]) @ vh)


@_cofactors.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return _second_derivative(input, grad)


@primitive(cost=decomposition(20), effort=per_matrix(20, ITERATIVE), memory=arrays(2), trailing=2, lapack=True)
def _second_derivative(input: Tensor, direction: Tensor) -> Type:
    """The second derivative of the determinant applied to a direction; it is symmetric."""
    return Type(input.dtype, input.shape)


@_second_derivative.kernel
def _(input: np.ndarray, direction: np.ndarray) -> np.ndarray:
    inverses = _accurate_inverses(input)
    if inverses is None:
        return _second_derivative_at_singular(input, direction)
    b = np.swapaxes(inverses, -1, -2)
    along = np.sum(direction * b, axis=(-2, -1), keepdims=True)
    return np.asarray(np.linalg.det(input))[..., None, None] * (along * b - b @ np.swapaxes(direction, -1, -2) @ b)


def _second_derivative_at_singular(input: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """At diagonal S along E and F: sum over i != j of (E_ii F_jj - E_ij F_ji) times the other singular values."""
    u, s, vh, sign = _rotations(input)
    inside = np.swapaxes(u, -1, -2) @ direction @ np.swapaxes(vh, -1, -2)
    identity = np.eye(s.shape[-1], dtype=bool)
    without_one = np.where(identity, s.dtype.type(1), s[..., None, :])
    without_two = np.where(identity, s.dtype.type(0), _others(without_one))
    along_diagonal = (without_two @ np.diagonal(inside, axis1=-2, axis2=-1)[..., None])[..., 0]
    rotated = -without_two * np.swapaxes(inside, -1, -2)
    rotated[..., identity] = along_diagonal
    return sign * (u @ rotated @ vh)


@_second_derivative.vjp("direction")
def _(grad: Tensor, out: Tensor, input: Tensor, direction: Tensor) -> Tensor:
    return _second_derivative(input, grad)


@_second_derivative.vjp("input")
def _(grad: Tensor, out: Tensor, input: Tensor, direction: Tensor) -> Tensor:
    """The gradient of det(A) (<G, B> <K, B> - <K, B G^T B>), where B = A^-T, for the directions G and K."""
    b = matrix_transpose(inverse(input))
    g, k = direction, grad
    along_g, along_k = _inner(g, b), _inner(k, b)
    b_g, b_k = _sandwich(b, g), _sandwich(b, k)
    both = _sandwich(b, g, b_k) + _sandwich(b, k, b_g)
    value = along_g * along_k - _inner(k, b_g)
    return scalars(_det(input)) * (value * b - along_k * b_g - along_g * b_k + both)


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """The sum of products of two matrices' elements: (*batch, n, n) -> (*batch, 1, 1)."""
    return summed(a * b, (-2, -1), keepdim=True)


def _sandwich(b: Tensor, inside: Tensor, last: Tensor | None = None) -> Tensor:
    """b @ inside^T @ last; `last` defaults to b."""
    return product(product(b, matrix_transpose(inside)), b if last is None else last)


_SAMPLES = (sample(spd(3, 3)), sample(real(2, 2, 2)), sample(real(1, 1)), sample(real(0, 0)))


@op(name="linalg.det", samples=_SAMPLES)
def det(A: Tensor) -> Tensor:
    """Determinant: (*batch, n, n) -> (*batch). Its gradient is the matrix of cofactors.

    Source: torch.linalg.det, except for the gradient at singular matrices.
    """
    require_square(A)
    determinant: Tensor = _det(A)
    return determinant


@op(name="det", grad_fn="LinalgDetBackward0", samples=_SAMPLES)
def det_(input: Tensor) -> Tensor:
    """Determinant: (*batch, n, n) -> (*batch), the same as linalg.det. Source: torch.det."""
    require_square(input, "input")
    determinant: Tensor = _det(input)
    return determinant


# Logarithms of determinants


@primitive(cost=decomposition(2 / 3), effort=per_matrix(2 / 3, DIRECT), memory=arrays(2), trailing=2, lapack=True)
def _slogdet(input: Tensor) -> tuple[Type, Type]:
    return Type(input.dtype, input.shape[:-2]), Type(input.dtype, input.shape[:-2])


@_slogdet.kernel
def _(input: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sign, logarithm = np.linalg.slogdet(input)
    return np.asarray(sign, input.dtype), np.asarray(logarithm, input.dtype)


@_slogdet.vjp
def _(grads: tuple[Tensor | None, Tensor | None], outs: tuple[Tensor, Tensor], input: Tensor) -> Tensor:
    """A^-T, which is infinite at a singular matrix. Source: Giles 2008, section 2.2.4."""
    grad = grads[1]
    if grad is None:
        return zeros_like(input)
    return scalars(grad) * matrix_transpose(inverse(input, check=False))


@op(name="linalg.slogdet", samples=_SAMPLES)
def slogdet(A: Tensor) -> tuple[Tensor, Tensor]:
    """Sign of the determinant, and the logarithm of its absolute value: (*batch, n, n) -> (*batch), (*batch).

    Source: torch.linalg.slogdet.
    """
    require_square(A)
    sign, logarithm = _slogdet(A)
    return sign, logarithm


@op(name="slogdet", grad_fn="LinalgSlogdetBackward0", samples=_SAMPLES)
def slogdet_(input: Tensor) -> tuple[Tensor, Tensor]:
    """Sign and logarithm of the determinant, the same as linalg.slogdet. Source: torch.slogdet."""
    require_square(input, "input")
    sign, logarithm = _slogdet(input)
    return sign, logarithm


@op(samples=(sample(spd(3, 3)), sample(spd(2, 2, 2))))
def logdet(input: Tensor) -> Tensor:
    """Logarithm of the determinant, NaN if it is negative: (*batch, n, n) -> (*batch). Source: torch.logdet."""
    require_square(input, "input")
    sign, logarithm = _slogdet(input)
    return where(lt(sign, 0), float("nan"), logarithm)


# Trace


@op(samples=(sample(real(3, 3)), sample(real(2, 3)), sample(integers(5, 3, 3)), sample(real(0, 2))))
def trace(input: Tensor) -> Tensor:
    """Sum of a matrix's diagonal: (n, m) -> (). Integers are summed in int64. Source: torch.trace."""
    if input.ndim != 2:
        raise OpError(
            "shape_mismatch",
            f"trace takes a matrix, and the tensor has shape {list(input.shape)}",
            "Sum the result of diagonal, which takes batches.",
            "input",
        )
    require_number(input)
    return sum(diagonal_of(input))
