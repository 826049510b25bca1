"""Ops that reverse dimensions or shift them cyclically."""

from __future__ import annotations

import numpy as np

from engine.errors import OpError
from engine.graph.graph import Tensor, Type
from engine.graph.op import op
from engine.graph.primitive import linear
from engine.graph.samples import real, sample
from engine.graph.traits import arrays, moves
from engine.graph.types import wrap_dim, wrap_dims
from engine.ops.shape.movement import reshaped

Dims = tuple[int, ...]


@linear(view=True, analytic=True)
def _flip(input: Tensor, *, dims: Dims) -> Type:
    return Type(input.dtype, input.shape)


@_flip.kernel
def _(input: np.ndarray, *, dims: Dims) -> np.ndarray:
    return np.flip(input, dims)


@_flip.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, dims: Dims) -> Tensor:
    return _flip(grad, dims=dims)


@op(samples=(sample(real(2, 3), (0, 1)), sample(real(2, 3, 2), (-1,)), sample(real(2), ()), sample(real(), (0,))))
def flip(input: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The elements in reverse order along `dims`. Source: torch.flip."""
    return _flip(input, dims=wrap_dims(dims, input.ndim, "dims"))


@op(grad_fn="FlipBackward0", samples=(sample(real(2, 3)), sample(real(2, 3, 2))))
def fliplr(input: Tensor) -> Tensor:
    """The columns (dimension 1) in reverse order. Source: torch.fliplr."""
    _require_rank(input, 2, "fliplr")
    return _flip(input, dims=(1 - input.ndim,))


@op(grad_fn="FlipBackward0", samples=(sample(real(2, 3)), sample(real(2))))
def flipud(input: Tensor) -> Tensor:
    """The rows (dimension 0) in reverse order. Source: torch.flipud."""
    _require_rank(input, 1, "flipud")
    return _flip(input, dims=(-input.ndim,))


def _require_rank(input: Tensor, rank: int, name: str) -> None:
    if input.ndim < rank:
        raise OpError(
            "rank",
            f"{name} needs at least {rank} dimensions, and the tensor has shape {list(input.shape)}",
            "Use flip and name the dimensions.",
            "input",
        )


@linear(cost=moves, memory=arrays(2), analytic=True)
def _roll(input: Tensor, *, shifts: Dims, dims: Dims) -> Type:
    return Type(input.dtype, input.shape)


@_roll.kernel
def _(input: np.ndarray, *, shifts: Dims, dims: Dims) -> np.ndarray:
    return np.roll(input, shifts, dims)


@_roll.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, shifts: Dims, dims: Dims) -> Tensor:
    return _roll(grad, shifts=tuple(-shift for shift in shifts), dims=dims)


def rolled(input: Tensor, shift: int, dim: int) -> Tensor:
    """Elements shifted cyclically by `shift` indices along a negative `dim`."""
    size = input.shape[dim]
    return _roll(input, shifts=(shift % size if size else 0,), dims=(dim,))


@op(
    samples=(
        sample(real(2, 3), 1),
        sample(real(2, 3), -4, 1),
        sample(real(2, 3), (1, 2), (0, 1)),
        sample(real(3), (1, 1), (0, 0)),
        sample(real(), 1),
    )
)
def roll(input: Tensor, shifts: int | tuple[int, ...], dims: int | tuple[int, ...] | None = None) -> Tensor:
    """Elements shifted cyclically along `dims`, or, without dims, in the flattened order. Source: torch.roll."""
    given = (shifts,) if isinstance(shifts, int) else shifts
    named = () if dims is None else (dims,) if isinstance(dims, int) else dims
    if not named and len(given) == 1:
        flat = reshaped(input, (input.numel,))
        return reshaped(rolled(flat, given[0], -1), input.shape)
    if not given or len(given) != len(named):
        raise OpError(
            "dims",
            f"there are {len(given)} shifts and {len(named)} dims",
            "Give a shift for each dimension, or a single shift and no dims.",
            "shifts",
        )
    if not input.ndim:
        raise OpError("rank", "a tensor without dimensions has no dims to shift along", "Leave dims out.", "dims")
    axes = tuple(wrap_dim(dim, input.ndim, "dims") for dim in named)
    sizes = [max(input.shape[axis], 1) for axis in axes]
    return _roll(input, shifts=tuple(shift % size for shift, size in zip(given, sizes, strict=True)), dims=axes)
