"""Ops that repeat elements: views along dimensions of size 1, copies along others."""

from __future__ import annotations

from engine.errors import OpError
from engine.graph.graph import Tensor
from engine.graph.op import op
from engine.graph.samples import real, sample
from engine.graph.types import Shape
from engine.ops.shape.movement import expanded, reshaped, same


@op(samples=(sample(real(3, 1), 3, 4), sample(real(3), 2, -1), sample(real(), 2)))
def expand(input: Tensor, *size: int) -> Tensor:
    """Dimensions of size 1 repeated without copying; -1 keeps a size. Source: torch.Tensor.expand."""
    return _broadcast(input, size, "size")


@op(grad_fn="ExpandBackward0", samples=(sample(real(3, 1), real(2, 3, 4)), sample(real(), real(2))))
def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """Dimensions of size 1 repeated to the shape of `other`. Source: torch.Tensor.expand_as."""
    return _broadcast(input, other.shape, "other")


@op(grad_fn="ExpandBackward0", samples=(sample(real(3, 1), (2, 3, 4)), sample(real(3), (2, -1)), sample(real(), (2,))))
def broadcast_to(input: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Dimensions of size 1 repeated to `shape`; -1 keeps a size. Source: torch.broadcast_to."""
    return _broadcast(input, shape, "shape")


def _broadcast(input: Tensor, sizes: tuple[int, ...], argument: str) -> Tensor:
    added = len(sizes) - input.ndim
    if added < 0:
        raise OpError(
            "shape_mismatch",
            f"{len(sizes)} sizes are too few for a tensor of shape {list(input.shape)}",
            "Give a size for every dimension, -1 to keep it.",
            argument,
        )
    shape = list(sizes)
    for axis, size in enumerate(sizes):
        own = input.shape[axis - added] if axis >= added else None
        if size == -1 and own is not None:
            shape[axis] = own
        elif size < 0 or (own is not None and own not in (1, size)):
            raise OpError(
                "shape_mismatch",
                f"size {size} at dimension {axis} does not fit a tensor of shape {list(input.shape)}",
                "Only dimensions of size 1 expand; -1 keeps a size, but not that of a new dimension.",
                argument,
            )
    wanted = tuple(shape)
    return same(input) if input.shape == wanted else expanded(input, wanted)


@op(samples=(sample(real(2, 3), 2, 1), sample(real(3), 2, 2), sample(real(2, 1), 1, 3), sample(real(), 2)))
def repeat(input: Tensor, *repeats: int) -> Tensor:
    """The tensor repeated `repeats` times along each dimension; new ones come first. Source: torch.Tensor.repeat."""
    if len(repeats) < input.ndim:
        raise OpError(
            "shape_mismatch",
            f"{len(repeats)} repeats are too few for a tensor of shape {list(input.shape)}",
            "Give a number for every dimension; 1 leaves it as it is.",
            "repeats",
        )
    return repeated(input, repeats, "repeats")


@op(
    grad_fn="RepeatBackward0",
    samples=(sample(real(2, 3), (2,)), sample(real(2, 3), (2, 1, 2)), sample(real(), (2,)), sample(real(2), ())),
)
def tile(input: Tensor, dims: int | tuple[int, ...]) -> Tensor:
    """The tensor repeated `dims` times along its dimensions; missing leading numbers are 1. Source: torch.tile."""
    given = (dims,) if isinstance(dims, int) else dims
    return repeated(input, (1,) * (input.ndim - len(given)) + given, "dims")


def repeated(input: Tensor, repeats: tuple[int, ...], argument: str) -> Tensor:
    """The tensor repeated along each dimension; `repeats` has at least one number for each dimension."""
    if any(count < 0 for count in repeats):
        raise OpError("shape", f"{list(repeats)} has a negative number of repeats", "Use 0 or more.", argument)
    sizes = (1,) * (len(repeats) - input.ndim) + input.shape
    split: list[int] = []
    spread: list[int] = []
    for count, size in zip(repeats, sizes, strict=True):
        if count != 1 and size != 1:
            split.append(1)
            spread.append(count)
        split.append(size)
        spread.append(count if size == 1 else size)
    result: Shape = tuple(count * size for count, size in zip(repeats, sizes, strict=True))
    made = reshaped(expanded(reshaped(input, tuple(split)), tuple(spread)), result)
    return same(input) if made is input else made
