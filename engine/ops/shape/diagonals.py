"""Ops for triangles and diagonals of matrices: extraction and embedding."""

from __future__ import annotations

import numpy as np

from engine.errors import OpError
from engine.graph.graph import Tensor, Type
from engine.graph.op import op
from engine.graph.primitive import linear
from engine.graph.samples import real, sample
from engine.graph.traits import arrays, moves, per_result
from engine.graph.types import Shape, wrap_dim

# Triangles


@linear(cost=moves, effort=per_result(20), memory=arrays(2), analytic=True)
def _tril(input: Tensor, *, diagonal: int) -> Type:
    return Type(input.dtype, input.shape)


@_tril.kernel
def _(input: np.ndarray, *, diagonal: int) -> np.ndarray:
    return np.tril(input, diagonal)


@_tril.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, diagonal: int) -> Tensor:
    return _tril(grad, diagonal=diagonal)


@linear(cost=moves, effort=per_result(20), memory=arrays(2), analytic=True)
def _triu(input: Tensor, *, diagonal: int) -> Type:
    return Type(input.dtype, input.shape)


@_triu.kernel
def _(input: np.ndarray, *, diagonal: int) -> np.ndarray:
    return np.triu(input, diagonal)


@_triu.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, diagonal: int) -> Tensor:
    return _triu(grad, diagonal=diagonal)


def lower(input: Tensor, diagonal: int = 0) -> Tensor:
    """The lower triangles of matrices: zero above the given diagonal. `(*batch, n, m)`."""
    return _tril(input, diagonal=_bounded(diagonal, input.shape[-2], input.shape[-1]))


def upper(input: Tensor, diagonal: int = 0) -> Tensor:
    """The upper triangles of matrices: zero below the given diagonal. `(*batch, n, m)`."""
    return _triu(input, diagonal=_bounded(diagonal, input.shape[-2], input.shape[-1]))


def _bounded(offset: int, rows: int, columns: int) -> int:
    """Return the offset of a diagonal, limited to the nearest diagonal without elements."""
    return min(max(offset, -rows), columns)


_TRIANGLES = (sample(real(3, 3)), sample(real(2, 3), 1), sample(real(2, 3, 2), -1), sample(real(0, 2)))


@op(samples=_TRIANGLES)
def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The lower triangle of matrices, zero above. `(*batch, n, m)`. Source: torch.tril."""
    _require_matrices(input, "tril")
    return lower(input, diagonal)


@op(samples=_TRIANGLES)
def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The upper triangle of matrices, zero below. `(*batch, n, m)`. Source: torch.triu."""
    _require_matrices(input, "triu")
    return upper(input, diagonal)


def _require_matrices(input: Tensor, name: str) -> None:
    if input.ndim < 2:
        raise OpError(
            "rank",
            f"{name} needs at least 2 dimensions, and the tensor has shape {list(input.shape)}",
            "Give a matrix, or a batch of them.",
            "input",
        )


# Diagonals


def _length(rows: int, columns: int, offset: int) -> int:
    return max(min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns), 0)


@linear(view=True, analytic=True)
def _diagonal(input: Tensor, *, offset: int, dim1: int, dim2: int) -> Type:
    kept = [size for dim, size in enumerate(input.shape, -input.ndim) if dim not in (dim1, dim2)]
    return Type(input.dtype, (*kept, _length(input.shape[dim1], input.shape[dim2], offset)))


@_diagonal.kernel
def _(input: np.ndarray, *, offset: int, dim1: int, dim2: int) -> np.ndarray:
    return np.diagonal(input, offset, dim1, dim2)


@_diagonal.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, offset: int, dim1: int, dim2: int) -> Tensor:
    return _place_diagonal(grad, shape=input.shape, offset=offset, dim1=dim1, dim2=dim2)


@linear(cost=moves, effort=per_result(8), memory=arrays(2), analytic=True)
def _place_diagonal(input: Tensor, *, shape: Shape, offset: int, dim1: int, dim2: int) -> Type:
    """Zeros of `shape` with the input, `(*others, length)`, on a diagonal: the transpose of `_diagonal`."""
    return Type(input.dtype, shape)


@_place_diagonal.kernel
def _(input: np.ndarray, *, shape: Shape, offset: int, dim1: int, dim2: int) -> np.ndarray:
    result = np.zeros(shape, input.dtype)
    diagonal = np.diagonal(result, offset, dim1, dim2)
    diagonal.flags.writeable = True
    diagonal[...] = input
    return result


@_place_diagonal.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, shape: Shape, offset: int, dim1: int, dim2: int) -> Tensor:
    return _diagonal(grad, offset=offset, dim1=dim1, dim2=dim2)


def diagonal_of(input: Tensor, offset: int = 0) -> Tensor:
    """A diagonal of matrices, without copying. `(*batch, n, m) -> (*batch, length)`."""
    return _diagonal(input, offset=_bounded(offset, input.shape[-2], input.shape[-1]), dim1=-2, dim2=-1)


def with_diagonal(input: Tensor, shape: Shape, offset: int = 0) -> Tensor:
    """Zeros with the input on a diagonal of matrices. `(*batch, length) -> shape`, which is `(*batch, n, m)`."""
    return _place_diagonal(input, shape=shape, offset=offset, dim1=-2, dim2=-1)


def _two_dims(dim1: int, dim2: int, rank: int) -> tuple[int, int]:
    first, second = wrap_dim(dim1, rank, "dim1"), wrap_dim(dim2, rank, "dim2")
    if first == second:
        raise OpError("repeated_dim", f"dim1 {dim1} and dim2 {dim2} are the same", "Name two dimensions.", "dim2")
    return first, second


@op(
    samples=(
        sample(real(3, 3)),
        sample(real(2, 3), 1),
        sample(real(2, 3, 4), -1, 0, 2),
        sample(real(2, 3, 4), offset=1, dim1=-1, dim2=1),
        sample(real(2, 3), 3),
    )
)
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A diagonal of two dimensions, as the last one of the result. Source: torch.diagonal."""
    first, second = _two_dims(dim1, dim2, input.ndim)
    bounded = _bounded(offset, input.shape[first], input.shape[second])
    return _diagonal(input, offset=bounded, dim1=first, dim2=second)


@op(
    samples=(
        sample(real(2, 3)),
        sample(real(3), 1),
        sample(real(2, 3), -1, 0, 2),
        sample(real(2, 3), offset=2, dim1=-1, dim2=0),
    )
)
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Matrices whose diagonals are the last dimension of the input. Source: torch.diag_embed."""
    if not input.ndim:
        raise OpError("rank", "diag_embed needs at least one dimension", "Reshape the tensor to [1] first.", "input")
    first, second = _two_dims(dim1, dim2, input.ndim + 1)
    size = input.shape[-1] + abs(offset)
    others = iter(input.shape[:-1])
    shape = tuple(size if dim in (first, second) else next(others) for dim in range(-input.ndim - 1, 0))
    return _place_diagonal(input, shape=shape, offset=offset, dim1=first, dim2=second)


@op(
    grad_fn=lambda given, out: "DiagEmbedBackward0" if out.ndim == 2 else "DiagonalBackward0_copy",
    samples=(sample(real(3, 3)), sample(real(2, 3), -1), sample(real(3)), sample(real(2), 1)),
)
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """A matrix's diagonal, or the matrix with a vector as its diagonal. Source: torch.diag."""
    if input.ndim not in (1, 2):
        raise OpError(
            "rank",
            f"diag takes a vector or a matrix, and the tensor has shape {list(input.shape)}",
            "Use diagonal or diag_embed for batches.",
            "input",
        )
    if input.ndim == 2:
        return diagonal_of(input, diagonal)
    size = input.shape[0] + abs(diagonal)
    return with_diagonal(input, (size, size), diagonal)
