"""Checks of op arguments, which raise OpError. The modules of `engine.ops` call them."""

from __future__ import annotations

from engine.errors import OpError
from engine.graph.graph import Tensor
from engine.graph.types import Shape


def require_floating(tensor: Tensor, argument: str = "input") -> None:
    """Raise OpError unless the tensor has a floating dtype."""
    if not tensor.dtype.is_floating:
        raise OpError(
            "dtype",
            f"{argument} has dtype {tensor.dtype}; this is defined for floating ones",
            "Give the tensor dtype float32 or float64.",
            argument,
        )


def require_number(tensor: Tensor, argument: str = "input") -> None:
    """Raise OpError for a bool tensor."""
    if not (tensor.dtype.is_floating or tensor.dtype.is_integral):
        raise OpError(
            "dtype",
            f"{argument} has dtype {tensor.dtype}; this is defined for numbers",
            "Give the tensor a number's dtype.",
            argument,
        )


def require_one_dtype(**tensors: Tensor | None) -> None:
    """Raise OpError unless all tensors have the same dtype; None is skipped."""
    given = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    (first, leading), *others = given.items()
    for name, tensor in others:
        if tensor.dtype is not leading.dtype:
            raise OpError(
                "dtype",
                f"{first} has dtype {leading.dtype} and {name} {tensor.dtype}; they must have the same",
                "Give both the same dtype.",
                name,
            )


def require_shape(tensor: Tensor, shape: Shape, argument: str, why: str) -> None:
    """Raise OpError unless the tensor has the given shape; `why` is the reason in the error text."""
    if tensor.shape != shape:
        raise OpError(
            "shape_mismatch",
            f"{argument} has shape {list(tensor.shape)}; {why}, it must be {list(shape)}",
            f"Give {argument} the shape {list(shape)}.",
            argument,
        )


def refuse_inplace(inplace: bool) -> None:
    """Raise OpError if `inplace` is true."""
    if inplace:
        raise OpError(
            "inplace", "in-place ops are not offered", "Leave inplace out: the result is a new tensor.", "inplace"
        )


def require_sizes(sizes: Shape, argument: str = "size") -> None:
    """Raise OpError if a size is negative."""
    if any(size < 0 for size in sizes):
        raise OpError("shape", f"{argument} {list(sizes)} has a negative number", "Use sizes of 0 or more.", argument)
