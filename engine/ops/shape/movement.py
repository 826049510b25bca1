"""Ops that change the shape or the order of dimensions: reshape, permute, expand, and ops written in terms of these.

Results are views wherever NumPy can make one. Most modules of `engine.ops` call these functions.
"""

from __future__ import annotations

import math

import numpy as np

from engine.errors import OpError
from engine.graph.graph import Node, Tensor, Type
from engine.graph.kernel import Lowered
from engine.graph.op import alias, op
from engine.graph.primitive import linear
from engine.graph.promotion import CONSTANT
from engine.graph.samples import real, sample
from engine.graph.traits import in_place, moves, per_result
from engine.graph.types import Shape, numel, wrap_dim, wrap_dims

Dims = tuple[int, ...]


# Primitives


@linear(view=True, may_copy=True, pointwise=True, cost=moves, effort=per_result(2), memory=in_place, analytic=True)
def _reshape(input: Tensor, *, shape: Shape) -> Type:
    return Type(input.dtype, shape)


@_reshape.kernel
def _(input: np.ndarray, *, shape: Shape) -> np.ndarray:
    return input.reshape(shape)


@_reshape.lowering
def _(node: Node) -> Lowered | None:
    return Lowered(np.ndarray.reshape, (node.params["shape"],)) if node.inputs[0].shape else None


@_reshape.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, shape: Shape) -> Tensor:
    return reshaped(grad, input.shape)


def reshaped(input: Tensor, shape: Shape) -> Tensor:
    """The same elements in row-major order in another shape, which has no -1."""
    return input if input.shape == shape else _reshape(input, shape=shape)


@linear(view=True, analytic=True)
def _permute(input: Tensor, *, dims: Dims) -> Type:
    leading = input.shape[: input.ndim - len(dims)]
    return Type(input.dtype, leading + tuple(input.shape[dim] for dim in dims))


@_permute.kernel
def _(input: np.ndarray, *, dims: Dims) -> np.ndarray:
    leading = range(input.ndim - len(dims))  # batch axes stay in front
    return input.transpose(*leading, *dims)


@_permute.lowering
def _(node: Node) -> Lowered | None:
    rank, dims = node.inputs[0].ndim, node.params["dims"]
    return Lowered(np.ndarray.transpose, ((*range(rank - len(dims)), *[rank + dim for dim in dims]),))


@_permute.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, dims: Dims) -> Tensor:
    if grad.node.primitive is _permute and grad.node.params["dims"] == dims:  # the inverse cancels it
        return grad.node.inputs[0]
    rank = len(dims)
    inverse = sorted(range(-rank, 0), key=lambda dim: dims[dim])
    return _permute(grad, dims=tuple(inverse_dim for inverse_dim in inverse))


def permuted(input: Tensor, dims: Dims) -> Tensor:
    """The dimensions in another order; `dims` are negative and list each dimension once."""
    return input if list(dims) == sorted(dims) else _permute(input, dims=dims)


PERMUTE = _permute


@linear(view=True, broadcasts=True, analytic=True)
def _expand(input: Tensor, *, shape: Shape) -> Type:
    return Type(input.dtype, shape)


@_expand.kernel
def _(input: np.ndarray, *, shape: Shape) -> np.ndarray:
    return np.broadcast_to(input, shape)


def _spread(scalar: np.ndarray, shape: Shape, strides: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return the result of np.broadcast_to for a scalar, ten times as fast."""
    return np.ndarray(shape, dtype, scalar, 0, strides)


@_expand.lowering
def _(node: Node) -> Lowered | None:
    shape = node.params["shape"]
    if node.inputs[0].shape or 0 in shape:
        return None
    return Lowered(_spread, (shape, (0,) * len(shape), node.outputs[0].dtype.numpy))


@_expand.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, shape: Shape) -> Tensor:
    return grad  # differentiation sums it to the input's shape


def expanded(input: Tensor, shape: Shape) -> Tensor:
    """The tensor broadcast to a shape, without copying."""
    if input.shape == shape:
        return input
    if input.node.primitive is CONSTANT:
        made: Tensor = _expand(input, shape=shape)
        return made
    aligned = (1,) * (len(shape) - input.ndim) + input.shape  # equal ranks, so that a leading axis stays in front
    return _expand(reshaped(input, aligned), shape=shape)


def same(input: Tensor) -> Tensor:
    """The same elements as a new tensor, without copying."""
    return _reshape(input, shape=input.shape)


# Shapes


def resolved(shape: tuple[int, ...], count: int, argument: str = "shape") -> Shape:
    """Return the shape with -1 replaced by a size. Raises OpError if it does not have `count` elements."""
    unknown = [axis for axis, size in enumerate(shape) if size == -1]
    known = math.prod(size for size in shape if size != -1)
    if len(unknown) > 1 or any(size < -1 for size in shape):
        raise OpError("shape", f"{list(shape)} is no shape", "Use sizes of 0 or more, and -1 once at most.", argument)
    if unknown and known and count % known == 0:
        return tuple(count // known if size == -1 else size for size in shape)
    if unknown and known == 0 and count == 0:
        raise OpError("shape", f"-1 in {list(shape)} is ambiguous for no elements", "Write the size itself.", argument)
    if known != count or unknown:
        raise OpError(
            "shape_mismatch",
            f"{count} elements do not fit the shape {list(shape)}",
            f"Give sizes whose product is {count}.",
            argument,
        )
    return shape


@op(grad_fn="ViewBackward0", samples=(sample(real(2, 6), (3, -1)), sample(real(4), (2, 2)), sample(real(1), ())))
def reshape(input: Tensor, shape: int | tuple[int, ...]) -> Tensor:
    """The same elements in another shape; one size may be -1. Source: torch.reshape."""
    given = (shape,) if isinstance(shape, int) else shape
    return _reshape(input, shape=resolved(given, input.numel))


@op(samples=(sample(real(2, 6), 3, -1), sample(real(1))))
def view(input: Tensor, *shape: int) -> Tensor:
    """The same elements in another shape, like `reshape`. Source: torch.Tensor.view."""
    return _reshape(input, shape=resolved(shape, input.numel))


@op(samples=(sample(real(2, 3)), sample(real()), sample(real(0, 3))))
def clone(input: Tensor) -> Tensor:
    """The same values; gradients flow back through it. Source: torch.clone."""
    return same(input)


@op(grad_fn="CloneBackward0", samples=(sample(real(2, 3)), sample(real()), sample(real(0, 3))))
def contiguous(input: Tensor) -> Tensor:
    """The same values; memory layout is not part of a tensor's interface. Source: torch.Tensor.contiguous."""
    return same(input)


# Orders of dimensions


@op(samples=(sample(real(2, 3, 4), (2, 0, 1)), sample(real(2, 3), (-1, 0))))
def permute(input: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The tensor with its dimensions in the order `dims`. Source: torch.permute."""
    if len(dims) != input.ndim:
        raise OpError(
            "dims", f"dims {list(dims)} do not name the {input.ndim} dimensions", "Name each dimension once.", "dims"
        )
    wrap_dims(dims, input.ndim, "dims")
    return _permute(input, dims=tuple(wrap_dim(dim, input.ndim, "dims") for dim in dims))


@op(samples=(sample(real(2, 3, 4), 0, 2), sample(real(2, 3), -1, -2)))
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dimensions exchanged. Source: torch.transpose."""
    return _exchanged(input, wrap_dim(dim0, input.ndim, "dim0"), wrap_dim(dim1, input.ndim, "dim1"))


alias("swapdims", "transpose")


@op(grad_fn="TransposeBackward0", samples=(sample(real(2, 3, 4), 0, 2), sample(real(2, 3), -1, -2)))
def swapaxes(input: Tensor, axis0: int, axis1: int) -> Tensor:
    """Two dimensions exchanged: the NumPy name of `transpose`. Source: torch.swapaxes."""
    return _exchanged(input, wrap_dim(axis0, input.ndim, "axis0"), wrap_dim(axis1, input.ndim, "axis1"))


def _exchanged(input: Tensor, a: int, b: int) -> Tensor:
    if not input.ndim:
        return same(input)
    order = list(range(-input.ndim, 0))
    order[a], order[b] = order[b], order[a]
    return _permute(input, dims=tuple(order))


def matrix_transpose(input: Tensor) -> Tensor:
    """The last two dimensions exchanged."""
    return transpose(input, -1, -2)


def is_matrix_transpose(tensor: Tensor) -> bool:
    """Whether the tensor's node is a matrix transpose."""
    node = tensor.node
    if node.primitive is not _permute:
        return False
    *others, last, first = node.params["dims"]
    return (last, first) == (-1, -2) and others == sorted(others)


def turned(input: Tensor) -> Tensor:
    """The matrix transpose; the transpose of a matrix transpose is the original tensor."""
    return input.node.inputs[0] if is_matrix_transpose(input) else matrix_transpose(input)


@op(samples=(sample(real(2, 3)), sample(real(3)), sample(real())))
def t(input: Tensor) -> Tensor:
    """A matrix transposed; a vector or a scalar as it is. Source: torch.t."""
    if input.ndim > 2:
        raise OpError(
            "rank",
            f"t takes at most 2 dimensions, and the tensor has shape {list(input.shape)}",
            "Use transpose and name the two dimensions, or permute.",
            "input",
        )
    return matrix_transpose(input) if input.ndim == 2 else same(input)


@op(
    grad_fn=lambda given, out: "PermuteBackward0" if out.ndim else "AliasBackward0",
    samples=(sample(real(2, 3, 4), 0, 2), sample(real(2, 3, 4), (0, 1), (-1, 0)), sample(real(2, 3, 4), (), ())),
)
def movedim(input: Tensor, source: int | Dims, destination: int | Dims) -> Tensor:
    """Dimensions `source` moved to positions `destination`; the others keep their order. Source: torch.movedim."""
    moved = _checked_dims(source, input.ndim, "source")
    destinations = _checked_dims(destination, input.ndim, "destination")
    if len(moved) != len(destinations):
        raise OpError(
            "dims",
            f"source names {len(moved)} dimensions and destination {len(destinations)}",
            "Give as many places as dimensions.",
            "destination",
        )
    if not input.ndim:
        return same(input)
    others = iter([dim for dim in range(-input.ndim, 0) if dim not in moved])
    at = dict(zip(destinations, moved, strict=True))
    return _permute(input, dims=tuple(at[dim] if dim in at else next(others) for dim in range(-input.ndim, 0)))


def _checked_dims(dims: int | Dims, rank: int, argument: str) -> Dims:
    given = (dims,) if isinstance(dims, int) else dims
    wrap_dims(given, rank, argument)
    return tuple(wrap_dim(dim, rank, argument) for dim in given)


alias("moveaxis", "movedim")


# Dimensions inserted, removed and merged


@op(
    grad_fn=lambda given, out: (
        f"SqueezeBackward{0 if given.get('dim') is None else 1 if isinstance(given['dim'], int) else 2}"
    ),
    samples=(sample(real(1, 3, 1)), sample(real(1, 3, 1), 0), sample(real(1, 3, 1), (0, -1)), sample(real(2, 3), 0)),
)
def squeeze(input: Tensor, dim: int | tuple[int, ...] | None = None) -> Tensor:
    """Dimensions of size 1 removed: all of them, or the ones in `dim`. Source: torch.squeeze."""
    dims = wrap_dims(dim, input.ndim)
    kept = tuple(size for axis, size in enumerate(input.shape, -input.ndim) if size != 1 or axis not in dims)
    return _reshape(input, shape=kept)


@op(samples=(sample(real(2, 3), 1), sample(real(3), -2), sample(real(), 0)))
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """A dimension of size 1 inserted at `dim`. Source: torch.unsqueeze."""
    axis = wrap_dim(dim, input.ndim + 1) + input.ndim + 1
    return _reshape(input, shape=(*input.shape[:axis], 1, *input.shape[axis:]))


@op(
    grad_fn="ViewBackward0",
    samples=(sample(real(2, 3, 4)), sample(real(2, 3, 4), 1), sample(real(2, 3, 4), 0, 1), sample(real())),
)
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions from `start_dim` to `end_dim` merged into one. Source: torch.flatten."""
    if not input.ndim:
        return _reshape(input, shape=(1,))
    start = wrap_dim(start_dim, input.ndim, "start_dim") + input.ndim
    end = wrap_dim(end_dim, input.ndim, "end_dim") + input.ndim
    if start > end:
        raise OpError("dims", "start_dim stands behind end_dim", "Exchange them.", "start_dim")
    return _reshape(input, shape=(*input.shape[:start], numel(input.shape[start : end + 1]), *input.shape[end + 1 :]))


@op(grad_fn="ViewBackward0", samples=(sample(real(2, 6), 1, (3, -1)), sample(real(4, 2), 0, (1, 2, 2))))
def unflatten(input: Tensor, dim: int, sizes: tuple[int, ...]) -> Tensor:
    """One dimension split into several; one size may be -1. Source: torch.unflatten."""
    if not input.ndim or not sizes:
        raise OpError(
            "shape",
            "unflatten needs a tensor of at least one dimension and at least one size",
            "Use reshape for a tensor without dimensions.",
            "sizes",
        )
    axis = wrap_dim(dim, input.ndim) + input.ndim
    inner = resolved(sizes, input.shape[axis], "sizes")
    return _reshape(input, shape=(*input.shape[:axis], *inner, *input.shape[axis + 1 :]))
