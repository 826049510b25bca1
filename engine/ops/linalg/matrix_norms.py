"""Matrix norms, and the ops `norm`, which select a vector or a matrix norm by order and dimensions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from engine.errors import OpError
from engine.graph.graph import Tensor
from engine.graph.op import camel, op
from engine.graph.samples import real, sample
from engine.graph.types import DType, wrap_dim, wrap_dims
from engine.ops.kernels.reduce import Dims, reduced_shape
from engine.ops.linalg.solve import require_matrices
from engine.ops.linalg.svd import singular_values
from engine.ops.reduction.extrema import amax, amin
from engine.ops.reduction.sums import dims_of, summed
from engine.ops.reduction.vector_norms import in_norm_dtype, vector_norm_over
from engine.ops.shape.movement import permuted, reshaped

_SUMS = (1, -1, math.inf, -math.inf)
_SINGULAR = (2, -2, "nuc")


def _matrix_norm_over(input: Tensor, ord: float | str, dims: Dims, keepdim: bool) -> Tensor:
    """The matrix norm over two negative dims, rows first."""
    if ord == "fro":
        return vector_norm_over(input, 2, dims, keepdim)
    rows, columns = dims
    shape = reduced_shape(input.shape, dims, keepdim)
    if ord in _SUMS:
        added, compared = (rows, columns) if abs(float(ord)) == 1 else (columns, rows)
        return reshaped(_extremum(vector_norm_over(input, 1, (added,), keepdim=True), compared, ord), shape)
    require_matrices(input)
    others = tuple(dim for dim in range(-input.ndim, 0) if dim not in dims)
    values = singular_values(permuted(input, (*others, rows, columns)))
    return reshaped(summed(values, (-1,)) if ord == "nuc" else _extremum(values, -1, ord), shape)


def _extremum(input: Tensor, dim: int, ord: float | str) -> Tensor:
    """The largest element along a dim, or 0 for an empty dim; for a negative order, the smallest."""
    if float(ord) < 0:
        return amin(input, dim)
    return amax(input, dim) if input.shape[dim] else summed(input, (dim,))


def _two_dims(dim: tuple[int, ...], input: Tensor) -> Dims:
    if len(dim) != 2:
        raise OpError("dims", f"dim {list(dim)} names no matrix", "Give two dimensions, rows and columns.", "dim")
    wrap_dims(dim, input.ndim)
    return tuple(wrap_dim(each, input.ndim) for each in dim)


def _require_order(ord: float | str) -> None:
    if ord not in (*_SUMS, *_SINGULAR, "fro"):
        raise OpError(
            "unknown_choice",
            f"{ord!r} is no order of a matrix's norm",
            "Use 'fro', 'nuc', 1, -1, 2, -2, Infinity or -Infinity.",
            "ord",
        )


@op(
    name="linalg.matrix_norm",
    grad_fn=lambda given, out: _backward_name("linalg.matrix_norm", given.get("ord")),
    samples=(
        sample(real(2, 3)),
        sample(real(2, 3), "nuc"),
        sample(real(2, 3, 2), 2, (0, -1), True),
        sample(real(2, 3), -2),
        sample(real(2, 3), 1),
        sample(real(2, 3, 2), -1, (2, 0)),
        sample(real(2, 3), float("inf")),
        sample(real(2, 3), float("-inf"), keepdim=True),
    ),
)
def matrix_norm(
    A: Tensor,
    ord: float | str = "fro",
    dim: tuple[int, ...] = (-2, -1),
    keepdim: bool = False,
    *,
    dtype: DType | None = None,
) -> Tensor:
    """Norm of the matrices in two dimensions: (*batch, n, m) -> (*batch).

    "fro": root of the sum of squares. "nuc": sum of the singular values. 2 and -2: largest and smallest singular value.
    1 and -1: largest and smallest column sum of absolute values. Infinity and -Infinity: the same for rows.
    Source: torch.linalg.matrix_norm.
    """
    _require_order(ord)
    if A.ndim < 2:
        raise OpError(
            "shape_mismatch",
            f"A has shape {list(A.shape)}; it must be a matrix, or a batch of them",
            "Use linalg.vector_norm for vectors.",
            "A",
        )
    return _matrix_norm_over(in_norm_dtype(A, dtype, "A"), ord, _two_dims(dim, A), keepdim)


def _backward_name(op_name: str, ord: float | str | None) -> str:
    """Return PyTorch's grad_fn name if it is a vector norm of the elements, else the op's own."""
    return "LinalgVectorNormBackward0" if ord in (None, "fro") else camel(op_name)


@op(
    name="linalg.norm",
    grad_fn=lambda given, out: _norm_backward_name(given),
    samples=(
        sample(real(2, 3)),
        sample(real(4), 3),
        sample(real(2, 3), 1),
        sample(real(2, 3), "nuc"),
        sample(real(2, 3, 2), None, (0, 1), True),
        sample(real(2, 3, 2), 2, 1),
        sample(real(2, 3, 2), float("inf"), (2, 0)),
    ),
)
def norm(
    input: Tensor,
    ord: float | str | None = None,
    dim: int | tuple[int, ...] | None = None,
    keepdim: bool = False,
    *,
    dtype: DType | None = None,
) -> Tensor:
    """Vector norm if `dim` is one dimension or the tensor is 1-d, matrix norm for two dimensions.

    Without `ord`, the 2-norm of the elements over `dim`, or of all. Source: torch.linalg.norm.
    """
    if ord is None:
        return vector_norm_over(in_norm_dtype(input, dtype, "input"), 2, dims_of(dim, input), keepdim)
    if dim is None:
        if input.ndim not in (1, 2):
            raise OpError(
                "shape_mismatch",
                f"a norm of order {ord!r} is one of a vector or a matrix, and input has shape {list(input.shape)}",
                "Name one or two dimensions in dim, or leave out ord for the norm of all elements.",
                "dim",
            )
        dim = tuple(range(-input.ndim, 0))
    dims = (dim,) if isinstance(dim, int) else dim
    if len(dims) == 2 or isinstance(ord, str):
        return matrix_norm(input, ord, dims, keepdim, dtype=dtype)
    return vector_norm_over(in_norm_dtype(input, dtype, "input"), ord, dims_of(dims, input), keepdim)


def _norm_backward_name(given: Mapping[str, Any]) -> str:
    dim = given.get("dim")
    count = given["input"].ndim if dim is None else 1 if isinstance(dim, int) else len(dim)
    return _backward_name("linalg.norm", given.get("ord") if count == 2 else None)


@op(
    name="norm",
    grad_fn=lambda given, out: _backward_name("norm", "nuc" if given.get("p") == "nuc" else None),
    samples=(
        sample(real(2, 3)),
        sample(real(2, 3), 1, 1),
        sample(real(2, 3), "nuc"),
        sample(real(2, 3, 2), "fro", (0, 1), True),
        sample(real(2, 3), float("inf")),
    ),
)
def norm_(
    input: Tensor,
    p: float | str | None = "fro",
    dim: int | tuple[int, ...] | None = None,
    keepdim: bool = False,
    *,
    dtype: DType | None = None,
) -> Tensor:
    """Norm of the elements over `dim`, or of all, as one vector; for "nuc", the sum of a matrix's singular values.

    Source: torch.norm.
    """
    if p == "nuc":
        dims = tuple(range(-input.ndim, 0)) if dim is None else (dim,) if isinstance(dim, int) else dim
        return matrix_norm(input, p, dims, keepdim, dtype=dtype)
    if isinstance(p, str) and p != "fro":
        raise OpError("unknown_choice", f"{p!r} is no order of a norm", "Use a number, 'fro' or 'nuc'.", "p")
    order = 2.0 if p is None or isinstance(p, str) else p
    return vector_norm_over(in_norm_dtype(input, dtype, "input"), order, dims_of(dim, input), keepdim)
