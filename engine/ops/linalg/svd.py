"""Singular values and vectors of matrices (*batch, n, m), with k = min(n, m).

Source of the derivatives: Townsend 2016, "Differentiating the singular value decomposition". Derivatives of the
values are finite for equal values; derivatives of the vectors are infinite if two values are equal.
"""

from __future__ import annotations

from functools import reduce

import numpy as np

from engine.errors import OpError
from engine.graph.graph import Tensor, Type
from engine.graph.op import op
from engine.graph.primitive import primitive
from engine.graph.promotion import constant
from engine.graph.samples import real, sample, spd
from engine.graph.traits import ITERATIVE, arrays, decomposition, per_matrix
from engine.ops.elementwise.arithmetic import add
from engine.ops.indexing.slicing import sliced
from engine.ops.linalg.matmul import product
from engine.ops.linalg.solve import require_matrices
from engine.ops.shape.diagonals import with_diagonal
from engine.ops.shape.movement import expanded, matrix_transpose, reshaped


def _diverged(name: str) -> OpError:
    return OpError(
        "not_converged",
        f"{name}: the singular values of a matrix could not be found",
        "Look for infinite or NaN elements in the matrices.",
        "A",
    )


def _rows(input: Tensor) -> Tensor:
    """Vectors as rows that multiply the columns of matrices: (*batch, k) -> (*batch, 1, k)."""
    return reshaped(input, (*input.shape[:-1], 1, input.shape[-1]))


def _columns(input: Tensor) -> Tensor:
    """Vectors as columns that multiply the rows of matrices: (*batch, k) -> (*batch, k, 1)."""
    return reshaped(input, (*input.shape, 1))


@primitive(cost=decomposition(8 / 3), effort=per_matrix(8 / 3, ITERATIVE), memory=arrays(2), trailing=2, lapack=True)
def _svdvals(input: Tensor) -> Type:
    return Type(input.dtype, (*input.shape[:-2], min(input.shape[-2:])))


@_svdvals.kernel
def _(input: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.svd(input, compute_uv=False)
    except np.linalg.LinAlgError:
        raise _diverged("linalg.svdvals") from None


@_svdvals.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    left, _, right = _svd(input, full=False)
    return product(left * _rows(grad), right)


@primitive(cost=decomposition(20), effort=per_matrix(20, ITERATIVE), memory=arrays(2), trailing=2, lapack=True)
def _svd(input: Tensor, *, full: bool) -> tuple[Type, Type, Type]:
    """U, S and V^T. U and V are square with `full`, else they have k columns."""
    *batch, n, m = input.shape
    k = min(n, m)
    left, right = ((n, n), (m, m)) if full else ((n, k), (k, m))
    return Type(input.dtype, (*batch, *left)), Type(input.dtype, (*batch, k)), Type(input.dtype, (*batch, *right))


@_svd.kernel
def _(input: np.ndarray, *, full: bool) -> tuple[np.ndarray, ...]:
    try:
        return tuple(np.linalg.svd(input, full_matrices=full))
    except np.linalg.LinAlgError:
        raise _diverged("linalg.svd") from None


@_svd.vjp
def _(grads: Tensors, outs: tuple[Tensor, Tensor, Tensor], input: Tensor, *, full: bool) -> Tensor:
    """U (rotation of U + gradient of S + rotation of V) V^T, plus the parts outside the spans of U and V.

    Vectors beyond the k-th are not unique and have no gradient.
    """
    n, m = input.shape[-2:]
    k = min(n, m)
    u, s, vh = sliced(outs[0], -1, 0, k), outs[1], sliced(outs[2], -2, 0, k)
    middles = [] if grads[1] is None else [with_diagonal(grads[1], (*s.shape, k))]
    outside = []
    if grads[0] is not None:
        ut, grad = matrix_transpose(u), matrix_transpose(sliced(grads[0], -1, 0, k))
        middles.append(matrix_transpose(_rotation(ut, grad, s)))
        outside += [product(matrix_transpose(_departure(ut, grad, s)), vh)] if n > k else []
    if grads[2] is not None:
        grad = sliced(grads[2], -2, 0, k)
        middles.append(_rotation(vh, grad, s))
        outside += [product(u, _departure(vh, grad, s))] if m > k else []
    return reduce(add, [product(product(u, reduce(add, middles)), vh), *outside])


Tensors = tuple[Tensor | None, ...]


def _rotation(vectors: Tensor, grad: Tensor, s: Tensor) -> Tensor:
    """The gradient's rotation of the rows of V^T within their span, times S; infinite for equal singular values."""
    columns, rows = _columns(s), _rows(s)
    turned = product(grad, matrix_transpose(vectors))
    gaps = (columns - rows) * (columns + rows)
    ones = with_diagonal(expanded(constant(1, s.dtype), s.shape), gaps.shape)
    return columns * ((turned - matrix_transpose(turned)) / (gaps + ones))


def _departure(vectors: Tensor, grad: Tensor, s: Tensor) -> Tensor:
    """The gradient's part outside the span of the rows of V^T, divided by S."""
    return (grad - product(product(grad, matrix_transpose(vectors)), vectors)) / _columns(s)


def singular_values(input: Tensor) -> Tensor:
    """The singular values of matrices, in descending order: (*batch, n, m) -> (*batch, k)."""
    values: Tensor = _svdvals(input)
    return values


@op(
    name="linalg.svdvals",
    grad_fn="LinalgSvdBackward0",
    samples=(sample(real(2, 3)), sample(real(2, 3, 2)), sample(spd(3, 3)), sample(real(0, 3))),
)
def svdvals(A: Tensor) -> Tensor:
    """Singular values in descending order: (*batch, n, m) -> (*batch, k). Source: torch.linalg.svdvals."""
    require_matrices(A)
    return singular_values(A)


_SVD_SAMPLES = (sample(real(2, 3), False), sample(real(2, 3, 2), False), sample(spd(3, 3)), sample(real(3, 3)))


@op(name="linalg.svd", samples=_SVD_SAMPLES)
def svd(A: Tensor, full_matrices: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Singular value decomposition A = U diag(S) V^T: U (*batch, n, n), S (*batch, k), V^T (*batch, m, m).

    Without `full_matrices` U has k columns and V^T k rows. Vectors are unique up to sign.
    Source: torch.linalg.svd.
    """
    require_matrices(A)
    u, s, vh = _svd(A, full=full_matrices)
    return u, s, vh


@op(
    name="svd",
    grad_fn="LinalgSvdBackward0",
    samples=(sample(real(2, 3)), sample(spd(3, 3), False), sample(real(3, 2), True, False)),
)
def svd_(input: Tensor, some: bool = True, compute_uv: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Singular value decomposition A = U diag(S) V^T, returning V, not V^T. Source: torch.svd.

    With `some`, U and V have k columns, else they are square; without `compute_uv` they are square and zero.
    """
    require_matrices(input, "input")
    u, s, vh = _svd(input, full=not (some and compute_uv))
    if compute_uv:
        return u, s, matrix_transpose(vh)
    zero = constant(0, input.dtype)
    return expanded(zero, u.shape), singular_values(input), expanded(zero, vh.shape)
