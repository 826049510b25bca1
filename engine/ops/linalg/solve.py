"""Inverses of matrices (*batch, n, n), solutions of linear systems, and the shape checks of `engine.ops.linalg`.

Kernels call LAPACK through NumPy, which loops over a batch in C. They call LAPACK directly, matrix by matrix, only if
NumPy has no routine, or to find the singular matrix of a batch for an error message.
"""

from __future__ import annotations

from typing import NoReturn

import numpy as np
from scipy.linalg import lapack

from engine.errors import OpError
from engine.graph.graph import Node, Tensor, Type
from engine.graph.op import op
from engine.graph.primitive import primitive
from engine.graph.samples import real, sample, spd
from engine.graph.traits import DIRECT, arrays, decomposition, per_matrix, substitution
from engine.graph.types import Shape, broadcast_shapes, float16
from engine.ops.checks import require_floating, require_one_dtype
from engine.ops.linalg.matmul import of_rank, product
from engine.ops.shape.movement import matrix_transpose, reshaped

# Operand checks


def require_matrices(input: Tensor, argument: str = "A") -> None:
    """Raise OpError unless the tensor is a matrix or a batch of matrices, with a dtype that LAPACK supports."""
    require_floating(input, argument)
    if input.dtype is float16:
        raise OpError(
            "dtype",
            f"{argument} has dtype float16, in which matrices are not factored",
            "Give the tensor dtype float32 or float64.",
            argument,
        )
    if input.ndim < 2:
        raise OpError(
            "shape_mismatch",
            f"{argument} has shape {list(input.shape)}; it must be a matrix, or a batch of them",
            "Give it two dimensions or more.",
            argument,
        )


def require_square(input: Tensor, argument: str = "A") -> None:
    """Raise OpError unless the tensor has square matrices, with a dtype that LAPACK supports."""
    require_matrices(input, argument)
    if input.shape[-1] != input.shape[-2]:
        raise OpError(
            "shape_mismatch",
            f"{argument} holds matrices of {input.shape[-2]} by {input.shape[-1]}; they must be square",
            "Give it equal last two sizes.",
            argument,
        )


# Inverse


def factored(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the LU factors of one matrix, its pivots, and the number of the first pivot that is zero, or 0."""
    factor = lapack.sgetrf if matrix.dtype == np.float32 else lapack.dgetrf
    factors, pivots, info = factor(matrix)
    return factors, pivots, info


def _refuse_singular(matrices: np.ndarray, name: str) -> NoReturn:
    """Raise OpError with the index of the singular matrix and its zero pivot."""
    place, pivot = next(
        (index, info)
        for index in np.ndindex(matrices.shape[:-2])
        if (info := factored(matrices[index])[2]) or index == tuple(np.subtract(matrices.shape[:-2], 1))
    )
    which = f" at {list(place)} of the batch" if place else ""
    raise OpError(
        "singular",
        f"{name}: the matrix{which} is singular: pivot {pivot} of its LU factors is zero",
        "Give matrices of full rank; a small multiple of the identity added to them makes them so.",
        "A",
    )


@primitive(cost=decomposition(2), effort=per_matrix(2, DIRECT), memory=arrays(2), trailing=2, lapack=True)
def _inv(input: Tensor, *, check: bool) -> Type:
    """The inverse. Without `check`, a singular matrix gives the result of a division by its zero pivots."""
    return Type(input.dtype, input.shape)


@_inv.kernel
def _(input: np.ndarray, *, check: bool) -> np.ndarray:
    try:
        return np.linalg.inv(input)
    except np.linalg.LinAlgError:
        if check:
            _refuse_singular(input, "linalg.inv")
    result = np.empty_like(input)
    solve = lapack.sgetrs if input.dtype == np.float32 else lapack.dgetrs
    for index in np.ndindex(input.shape[:-2]):
        factors, pivots, _ = factored(input[index])
        result[index] = solve(factors, pivots, np.eye(input.shape[-1], dtype=input.dtype))[0]
    return result


@_inv.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, check: bool) -> Tensor:
    """Source: Giles 2008, section 2.2.3."""
    transposed = matrix_transpose(out)
    return -product(product(transposed, grad), transposed)


def inverse(input: Tensor, *, check: bool = True) -> Tensor:
    """The inverses of square matrices; with `check=False`, singular ones give infinities."""
    inverted: Tensor = _inv(input, check=check)
    return inverted


@op(
    name="linalg.inv",
    grad_fn="LinalgInvExBackward0",
    samples=(sample(spd(3, 3)), sample(spd(2, 2, 2)), sample(real(0, 0))),
)
def inv(A: Tensor) -> Tensor:
    """Inverse: (*batch, n, n) -> (*batch, n, n). Singular matrices raise OpError. Source: torch.linalg.inv."""
    require_square(A)
    return inverse(A)


@op(name="inverse", grad_fn="LinalgInvExBackward0", samples=(sample(spd(3, 3)), sample(spd(2, 2, 2))))
def inverse_(input: Tensor) -> Tensor:
    """Inverse: (*batch, n, n) -> (*batch, n, n), the same as linalg.inv. Source: torch.inverse."""
    require_square(input, "input")
    return inverse(input)


# Linear systems


def _elimination(node: Node) -> int:
    """The operations of one factorization, 2/3 n^3 for each matrix, and two substitutions."""
    return decomposition(2 / 3)(node) + 2 * substitution(node)


def _effort_of_elimination(node: Node) -> int:
    return per_matrix(2 / 3, DIRECT)(node) + 2 * substitution(node)


@primitive(cost=_elimination, effort=_effort_of_elimination, memory=arrays(2), trailing=2, lapack=True)
def _solve(matrix: Tensor, right: Tensor) -> Type:
    """The solution X of matrix @ X = right. Ranks are equal; batch dimensions broadcast."""
    batch = broadcast_shapes([matrix.shape[:-2], right.shape[:-2]])
    return Type(right.dtype, (*batch, *right.shape[-2:]))


@_solve.kernel
def _(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.solve(matrix, right)
    except np.linalg.LinAlgError:
        _refuse_singular(matrix, "linalg.solve")


@_solve.vjp("matrix")
def _(grad: Tensor, out: Tensor, matrix: Tensor, right: Tensor) -> Tensor:
    """Source: Giles 2008, section 2.3.1."""
    return -product(_solve(matrix_transpose(matrix), grad), matrix_transpose(out))


@_solve.vjp("right")
def _(grad: Tensor, out: Tensor, matrix: Tensor, right: Tensor) -> Tensor:
    return _solve(matrix_transpose(matrix), grad)


def solved(matrix: Tensor, right: Tensor) -> Tensor:
    """The solution X of matrix @ X = right: (*batch, n, n), (*batch, n, k) -> (*batch, n, k), with broadcasting."""
    rank = max(matrix.ndim, right.ndim)
    solution: Tensor = _solve(of_rank(matrix, rank), of_rank(right, rank))
    return solution


def require_rows(A: Tensor, B: Shape, left: bool) -> None:
    """Raise OpError unless a right side of shape `B` fits A X = B, or X A = B if `left` is false."""
    if A.shape[-1] != B[-2 if left else -1]:
        equation = "A X = B" if left else "X A = B"
        raise OpError(
            "shape_mismatch",
            f"A of shape {list(A.shape)} and B of shape {list(B)} do not fit the equation {equation}",
            f"B must have {A.shape[-1]} {'rows' if left else 'columns'}.",
            "B",
        )


@op(
    name="linalg.solve",
    grad_fn="LinalgSolveExBackward0",
    samples=(
        sample(spd(3, 3), real(3, 2)),
        sample(spd(3, 3), real(3)),
        sample(spd(2, 3, 3), real(2, 3)),
        sample(spd(2, 1, 3, 3), real(2, 3, 2)),
        sample(spd(3, 3), real(2, 3), left=False),
    ),
)
def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """Solution X of A X = B, or of X A = B: (*batch, n, n), (*batch, n, k) -> (*batch, n, k).

    B may be a vector, or a batch of vectors of the shape of A without its last dimension. Singular matrices raise
    OpError. Source: torch.linalg.solve.
    """
    require_square(A)
    require_one_dtype(A=A, B=B)
    vectors = B.ndim == 1 or B.shape == A.shape[:-1]
    if not B.ndim:
        raise OpError("shape_mismatch", "B has no dimensions", "Give it the shape of a vector or a matrix.", "B")
    right = reshaped(B, (*B.shape, 1)) if vectors else B
    require_rows(A, right.shape, left)
    if not left:
        return matrix_transpose(solved(matrix_transpose(A), matrix_transpose(right)))
    solution = solved(A, right)
    return reshaped(solution, solution.shape[:-1]) if vectors else solution
