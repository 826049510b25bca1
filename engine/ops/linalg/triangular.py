"""Solutions of triangular systems, and Cholesky factors of matrices (*batch, n, n)."""

from __future__ import annotations

from typing import NoReturn

import numpy as np
from scipy.linalg import blas, lapack

from engine.errors import OpError
from engine.graph.graph import Node, Tensor, Type
from engine.graph.op import op
from engine.graph.primitive import primitive
from engine.graph.samples import real, sample, spd
from engine.graph.traits import CALL, DIRECT, arrays, decomposition, per_matrix, substitution
from engine.graph.types import broadcast_shapes, numel
from engine.ops.checks import require_one_dtype
from engine.ops.linalg.matmul import of_rank, product
from engine.ops.linalg.solve import require_matrices, require_rows, require_square
from engine.ops.shape.diagonals import lower
from engine.ops.shape.diagonals import upper as upper_triangle
from engine.ops.shape.movement import matrix_transpose

# Triangular systems


def _effort_of_substitution(node: Node) -> int:
    """n n k operations for each matrix, plus calls for each matrix or for each row, whichever are fewer."""
    size = node.inputs[0].shape[-1]
    batch = numel(node.outputs[0].shape[:-2])
    each = substitution(node) + 4 * CALL * min(batch, size)
    return each + 500 * node.outputs[0].numel if batch > size else each


@primitive(cost=substitution, effort=_effort_of_substitution, memory=arrays(2), trailing=2, lapack=True)
def _solve_triangular(matrix: Tensor, right: Tensor, *, upper: bool, unit: bool) -> Type:
    """The solution X of matrix @ X = right by substitution. Ranks are equal; batch dimensions broadcast."""
    batch = broadcast_shapes([matrix.shape[:-2], right.shape[:-2]])
    return Type(right.dtype, (*batch, *right.shape[-2:]))


@_solve_triangular.kernel
def _(matrix: np.ndarray, right: np.ndarray, *, upper: bool, unit: bool) -> np.ndarray:
    batch = np.broadcast_shapes(matrix.shape[:-2], right.shape[:-2])
    matrices = np.broadcast_to(matrix, (*batch, *matrix.shape[-2:]))
    rights = np.broadcast_to(right, (*batch, *right.shape[-2:]))
    if numel(batch) > matrix.shape[-1]:
        return _substituted_in_step(matrices, rights, upper, unit)
    result = np.empty(rights.shape, right.dtype)
    substitute = blas.strsm if right.dtype == np.float32 else blas.dtrsm
    for index in np.ndindex(batch):  # X^T A^T = B^T in Fortran order avoids copies
        result[index] = substitute(1.0, matrices[index].T, rights[index].T, side=1, lower=upper, diag=unit).T
    return result


def _substituted_in_step(matrices: np.ndarray, rights: np.ndarray, upper: bool, unit: bool) -> np.ndarray:
    """Substitute row by row, for all matrices of a large batch together."""
    result = rights.copy()
    size = matrices.shape[-1]
    for row in reversed(range(size)) if upper else range(size):
        known = slice(row + 1, None) if upper else slice(row)
        result[..., row, :] -= (matrices[..., row : row + 1, known] @ result[..., known, :])[..., 0, :]
        if not unit:
            result[..., row, :] /= matrices[..., row, row, None]
    return result


@_solve_triangular.vjp("matrix")
def _(grad: Tensor, out: Tensor, matrix: Tensor, right: Tensor, *, upper: bool, unit: bool) -> Tensor:
    adjoint = _solve_triangular(matrix_transpose(matrix), grad, upper=not upper, unit=unit)
    every = -product(adjoint, matrix_transpose(out))
    return upper_triangle(every, int(unit)) if upper else lower(every, -int(unit))


@_solve_triangular.vjp("right")
def _(grad: Tensor, out: Tensor, matrix: Tensor, right: Tensor, *, upper: bool, unit: bool) -> Tensor:
    return _solve_triangular(matrix_transpose(matrix), grad, upper=not upper, unit=unit)


def substituted(matrix: Tensor, right: Tensor, *, upper: bool, unit: bool = False) -> Tensor:
    """The solution X of matrix @ X = right, using one triangle of the matrix; batch dimensions broadcast."""
    rank = max(matrix.ndim, right.ndim)
    solution: Tensor = _solve_triangular(of_rank(matrix, rank), of_rank(right, rank), upper=upper, unit=unit)
    return solution


@op(
    name="linalg.solve_triangular",
    samples=(
        sample(spd(3, 3), real(3, 2), upper=True),
        sample(spd(3, 3), real(3, 2), upper=False),
        sample(spd(2, 1, 3, 3), real(2, 3, 2), upper=False, unitriangular=True),
        sample(spd(3, 3), real(2, 3), upper=True, left=False),
    ),
)
def solve_triangular(A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Tensor:
    """Solution X of A X = B, or of X A = B, using the upper or lower triangle of A, with a diagonal of ones
    if `unitriangular`: (*batch, n, n), (*batch, n, k) -> (*batch, n, k). Source: torch.linalg.solve_triangular.
    """
    require_square(A)
    require_matrices(B, "B")
    require_one_dtype(A=A, B=B)
    require_rows(A, B.shape, left)
    if left:
        return substituted(A, B, upper=upper, unit=unitriangular)
    rows = substituted(matrix_transpose(A), matrix_transpose(B), upper=not upper, unit=unitriangular)
    return matrix_transpose(rows)


# Cholesky factors


@primitive(cost=decomposition(1 / 3), effort=per_matrix(1 / 3, DIRECT), memory=arrays(2), trailing=2, lapack=True)
def _cholesky(input: Tensor) -> Type:
    """The lower Cholesky factor of the symmetric part."""
    return Type(input.dtype, input.shape)


@_cholesky.kernel
def _(input: np.ndarray) -> np.ndarray:
    symmetric = (input + np.swapaxes(input, -1, -2)) / 2
    try:
        factors = np.linalg.cholesky(symmetric)
    except np.linalg.LinAlgError:
        _refuse_indefinite(symmetric)
    if np.isnan(np.diagonal(factors, axis1=-2, axis2=-1)).any():
        _refuse_indefinite(symmetric)
    return factors


def _refuse_indefinite(matrices: np.ndarray) -> NoReturn:
    """Raise OpError with the first matrix that is not positive definite and the order of its leading minor."""
    for index in np.ndindex(matrices.shape[:-2]):
        factor, order = (lapack.spotrf if matrices.dtype == np.float32 else lapack.dpotrf)(matrices[index], lower=True)
        pivots = np.diagonal(factor)
        order = order or int(np.isnan(pivots).any() and np.isnan(pivots).argmax() + 1)
        if order:
            break
    which = f" at {list(index)} of the batch" if index else ""
    raise OpError(
        "not_positive_definite",
        f"linalg.cholesky: the matrix{which} is not positive definite: its leading minor of order {order} is not",
        "Give symmetric matrices with positive eigenvalues; a small multiple of the identity added makes them so.",
        "A",
    )


@_cholesky.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    """Source: Murray 2016, "Differentiation of the Cholesky decomposition", section 3.1, equations (8) to (10)."""
    inner = product(matrix_transpose(out), lower(grad))
    middle = (lower(inner) + matrix_transpose(lower(inner, -1))) * 0.5
    transposed = matrix_transpose(out)
    half = substituted(transposed, middle, upper=True)
    return matrix_transpose(substituted(transposed, matrix_transpose(half), upper=True))


_CHOLESKY_SAMPLES = (sample(spd(3, 3)), sample(spd(2, 2, 2)), sample(spd(3, 3), upper=True))


@op(name="linalg.cholesky", grad_fn="LinalgCholeskyExBackward0", samples=_CHOLESKY_SAMPLES)
def cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """Lower triangular L of A = L L^T, or upper L^T: (*batch, n, n) -> (*batch, n, n).

    Raises OpError unless A is positive definite. The factor is of the symmetric part, (A + A^T) / 2.
    Source: torch.linalg.cholesky.
    """
    require_square(A)
    factor: Tensor = _cholesky(A)
    return matrix_transpose(factor) if upper else factor


@op(name="cholesky", samples=_CHOLESKY_SAMPLES)
def cholesky_(input: Tensor, upper: bool = False) -> Tensor:
    """Cholesky factor of positive definite matrices, the same as linalg.cholesky. Source: torch.cholesky."""
    require_square(input, "input")
    factor: Tensor = _cholesky(input)
    return matrix_transpose(factor) if upper else factor
