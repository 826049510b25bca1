"""Ops that move elements and compute none: reshape, permute, expand, and what is written in terms of them."""

from __future__ import annotations

import math

import numpy as np

from engine.errors import OpError
from engine.graph import Tensor, Type
from engine.op import linear, op
from engine.samples import real, sample
from engine.types import Shape, numel, wrap_dim, wrap_dims

Dims = tuple[int, ...]


# Primitives


@linear(view=True, may_copy=True)
def _reshape(input: Tensor, *, shape: Shape) -> Type:
    return Type(input.dtype, shape)


@_reshape.kernel
def _(input: np.ndarray, *, shape: Shape) -> np.ndarray:
    return input.reshape(shape)


@_reshape.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, shape: Shape) -> Tensor:
    return reshaped(grad, input.shape)


def reshaped(input: Tensor, shape: Shape) -> Tensor:
    """The same elements, row-major, in a known shape of as many elements."""
    return input if input.shape == shape else _reshape(input, shape=shape)


@linear(view=True)
def _permute(input: Tensor, *, dims: Dims) -> Type:
    leading = input.shape[: input.ndim - len(dims)]
    return Type(input.dtype, leading + tuple(input.shape[dim] for dim in dims))


@_permute.kernel
def _(input: np.ndarray, *, dims: Dims) -> np.ndarray:
    leading = range(input.ndim - len(dims))  # batch axes stay in front
    return input.transpose(*leading, *dims)


@_permute.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, dims: Dims) -> Tensor:
    rank = len(dims)
    inverse = sorted(range(-rank, 0), key=lambda dim: dims[dim])
    return _permute(grad, dims=tuple(inverse_dim for inverse_dim in inverse))


def permuted(input: Tensor, dims: Dims) -> Tensor:
    """The dimensions in another order; `dims` are negative and name each once."""
    return input if list(dims) == sorted(dims) else _permute(input, dims=dims)


@linear(view=True)
def _expand(input: Tensor, *, shape: Shape) -> Type:
    return Type(input.dtype, shape)


@_expand.kernel
def _(input: np.ndarray, *, shape: Shape) -> np.ndarray:
    return np.broadcast_to(input, shape)


@_expand.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, shape: Shape) -> Tensor:
    return grad  # the driver sums it to the input's shape


def expanded(input: Tensor, shape: Shape) -> Tensor:
    """The tensor broadcast to a shape, without copying."""
    if input.shape == shape:
        return input
    aligned = (1,) * (len(shape) - input.ndim) + input.shape  # equal ranks, so that a leading axis stays in front
    return _expand(reshaped(input, aligned), shape=shape)


# Ops


def resolved(shape: tuple[int, ...], count: int, argument: str = "shape") -> Shape:
    """Return the shape with its one -1 worked out. Raises OpError where it does not hold `count` elements."""
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


@op(samples=(sample(real(2, 3, 4), (2, 0, 1)), sample(real(2, 3), (-1, 0))))
def permute(input: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The dimensions in the order given. Source: torch.permute."""
    if len(dims) != input.ndim:
        raise OpError(
            "dims", f"dims {list(dims)} do not name the {input.ndim} dimensions", "Name each dimension once.", "dims"
        )
    wrap_dims(dims, input.ndim, "dims")
    return _permute(input, dims=tuple(wrap_dim(dim, input.ndim, "dims") for dim in dims))


@op(samples=(sample(real(2, 3, 4), 0, 2), sample(real(2, 3), -1, -2)))
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dimensions exchanged. Source: torch.transpose."""
    a, b = wrap_dim(dim0, input.ndim, "dim0"), wrap_dim(dim1, input.ndim, "dim1")
    if not input.ndim:
        return input
    order = list(range(-input.ndim, 0))
    order[a], order[b] = order[b], order[a]
    return _permute(input, dims=tuple(order))


def matrix_transpose(input: Tensor) -> Tensor:
    """The last two dimensions exchanged."""
    return transpose(input, -1, -2)


@op(samples=(sample(real(3, 1), 3, 4), sample(real(3), 2, -1), sample(real(), 2)))
def expand(input: Tensor, *sizes: int) -> Tensor:
    """Dimensions of size 1 repeated without copying; -1 keeps a size. Source: torch.Tensor.expand."""
    added = len(sizes) - input.ndim
    if added < 0:
        raise OpError(
            "shape_mismatch",
            f"{len(sizes)} sizes are too few for {input.ndim} dimensions",
            "Give a size for every dimension, -1 to keep it.",
            "sizes",
        )
    shape = list(sizes)
    for axis, size in enumerate(sizes):
        own = input.shape[axis - added] if axis >= added else None
        if size == -1 and own is not None:
            shape[axis] = own
        elif size < 0 or (own is not None and own not in (1, size)):
            raise OpError(
                "shape_mismatch",
                f"size {size} at dimension {axis} does not fit the tensor of shape {list(input.shape)}",
                "Only dimensions of size 1 expand; -1 keeps a size, but not that of a new dimension.",
                "sizes",
            )
    aligned = reshaped(input, (1,) * added + input.shape)
    return _expand(aligned, shape=tuple(shape))


@op(
    grad_fn=lambda given, out: (
        f"SqueezeBackward{0 if given.get('dim') is None else 1 if isinstance(given['dim'], int) else 2}"
    ),
    samples=(sample(real(1, 3, 1)), sample(real(1, 3, 1), 0), sample(real(1, 3, 1), (0, -1)), sample(real(2, 3), 0)),
)
def squeeze(input: Tensor, dim: int | tuple[int, ...] | None = None) -> Tensor:
    """Dimensions of size 1 left out: all, or those of `dim` that have size 1. Source: torch.squeeze."""
    dims = wrap_dims(dim, input.ndim)
    kept = tuple(size for axis, size in enumerate(input.shape, -input.ndim) if size != 1 or axis not in dims)
    return _reshape(input, shape=kept)


@op(samples=(sample(real(2, 3), 1), sample(real(3), -2), sample(real(), 0)))
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """A dimension of size 1 put in at `dim`. Source: torch.unsqueeze."""
    axis = wrap_dim(dim, input.ndim + 1) + input.ndim + 1
    return _reshape(input, shape=(*input.shape[:axis], 1, *input.shape[axis:]))


@op(
    grad_fn="ViewBackward0",
    samples=(sample(real(2, 3, 4)), sample(real(2, 3, 4), 1), sample(real(2, 3, 4), 0, 1), sample(real())),
)
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions from `start_dim` to `end_dim` as one. Source: torch.flatten."""
    if not input.ndim:
        return _reshape(input, shape=(1,))
    start = wrap_dim(start_dim, input.ndim, "start_dim") + input.ndim
    end = wrap_dim(end_dim, input.ndim, "end_dim") + input.ndim
    if start > end:
        raise OpError("dims", "start_dim stands behind end_dim", "Exchange them.", "start_dim")
    return _reshape(input, shape=(*input.shape[:start], numel(input.shape[start : end + 1]), *input.shape[end + 1 :]))
