"""Largest and smallest elements and their indices, over some dimensions or all.

In `amax`, `amin`, and `max` and `min` of all elements, ties share the gradient evenly. `max` and `min` along one
dimension give all of it to the first of equal elements, which has the returned index. NaN is the extremum if present.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.errors import OpError
from engine.graph.graph import Tensor, Type
from engine.graph.op import camel, op
from engine.graph.primitive import linear, primitive
from engine.graph.promotion import as_tensor, constant
from engine.graph.samples import real, sample
from engine.graph.traits import along_dims, arrays, moves, per_input, per_result
from engine.graph.types import bool_, int64, wrap_dim, wrap_dims
from engine.ops.checks import require_number
from engine.ops.elementwise.comparison import eq, logical_and, logical_or, ne
from engine.ops.elementwise.selection import maximum, minimum, where
from engine.ops.kernels.reduce import Dims, extremum, reduced_shape
from engine.ops.reduction.sums import dims_of, restored, summed
from engine.ops.shape.movement import reshaped, same

# Extrema over several dimensions


@primitive(cost=per_input(1), effort=along_dims(1), memory=arrays(2))
def _amax(input: Tensor, *, dims: Dims, keepdim: bool, of_nan: bool) -> Type:
    return Type(input.dtype, reduced_shape(input.shape, dims, keepdim))


@_amax.kernel
def _(input: np.ndarray, *, dims: Dims, keepdim: bool, of_nan: bool) -> np.ndarray:
    return extremum(np.maximum, input, dims, keepdim)


@primitive(cost=per_input(1), effort=along_dims(1), memory=arrays(2))
def _amin(input: Tensor, *, dims: Dims, keepdim: bool, of_nan: bool) -> Type:
    return Type(input.dtype, reduced_shape(input.shape, dims, keepdim))


@_amin.kernel
def _(input: np.ndarray, *, dims: Dims, keepdim: bool, of_nan: bool) -> np.ndarray:
    return extremum(np.minimum, input, dims, keepdim)


@_amax.vjp
@_amin.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, dims: Dims, keepdim: bool, of_nan: bool) -> Tensor:
    """Ties share the gradient evenly. For a NaN result, NaNs share it with `of_nan`; else it is NaN, as in amax."""
    peak = restored(out, input.shape, dims, keepdim)
    ties = ties_with(input, peak) if of_nan else eq(input, peak)
    weights = as_tensor(ties, grad.dtype)
    return restored(grad, input.shape, dims, keepdim) / summed(weights, dims, keepdim=True) * weights


def ties_with(input: Tensor, value: Tensor) -> Tensor:
    """Whether elements equal a value that broadcasts; NaN equals NaN."""
    return logical_or(eq(input, value), logical_and(ne(input, input), ne(value, value)))


def require_elements(input: Tensor, dims: Dims) -> None:
    """Raise OpError if a dim to reduce has size 0, and therefore no extremum."""
    for dim in dims:
        if not input.shape[dim]:
            raise OpError(
                "empty_reduction",
                f"dimension {dim} of a tensor of shape {list(input.shape)} has no elements to choose from",
                "Reduce over dimensions that are not empty.",
                "input",
            )


_DIM_SAMPLES = (sample(real(2, 3)), sample(real(2, 3, 2), 1), sample(real(2, 3, 2), (0, -1), True), sample(real()))


@op(samples=_DIM_SAMPLES)
def amax(input: Tensor, dim: int | tuple[int, ...] = (), keepdim: bool = False) -> Tensor:
    """Largest element over `dim`, or of all; ties share the gradient evenly. Source: torch.amax."""
    dims = dims_of(dim, input)
    require_elements(input, dims)
    return _amax(input, dims=dims, keepdim=keepdim, of_nan=False)


@op(samples=_DIM_SAMPLES)
def amin(input: Tensor, dim: int | tuple[int, ...] = (), keepdim: bool = False) -> Tensor:
    """Smallest element over `dim`, or of all; ties share the gradient evenly. Source: torch.amin."""
    dims = dims_of(dim, input)
    require_elements(input, dims)
    return _amin(input, dims=dims, keepdim=keepdim, of_nan=False)


@op(samples=(sample(real(2, 3)), sample(real(2, 3), dim=1), sample(real(2, 3), dim=0, keepdim=True), sample(real())))
def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """Smallest and largest element over `dim`, or of all. Source: torch.aminmax."""
    return amin(input, () if dim is None else dim, keepdim), amax(input, () if dim is None else dim, keepdim)


# Extrema along one dimension, with their indices


@primitive(differentiable=False, cost=per_input(1), effort=along_dims(8), memory=arrays(2))
def _argmax(input: Tensor, *, dim: int) -> Type:
    """The index of the first largest element; `dim` is kept with size 1."""
    return Type(int64, reduced_shape(input.shape, (dim,), keepdim=True))


@_argmax.kernel
def _(input: np.ndarray, *, dim: int) -> np.ndarray:
    return np.argmax(input, axis=dim, keepdims=True)


@primitive(differentiable=False, cost=per_input(1), effort=along_dims(8), memory=arrays(2))
def _argmin(input: Tensor, *, dim: int) -> Type:
    """The index of the first smallest element; `dim` is kept with size 1."""
    return Type(int64, reduced_shape(input.shape, (dim,), keepdim=True))


@_argmin.kernel
def _(input: np.ndarray, *, dim: int) -> np.ndarray:
    return np.argmin(input, axis=dim, keepdims=True)


@primitive(differentiable=False, cost=per_result(1), effort=per_result(60), memory=arrays(2))
def _is_at(index: Tensor, *, dim: int, size: int) -> Type:
    """The mask that is true at `index` along a dimension of the given size; `index` has size 1 there."""
    shape = list(index.shape)
    shape[dim] = size
    return Type(bool_, tuple(shape))


@_is_at.kernel
def _(index: np.ndarray, *, dim: int, size: int) -> np.ndarray:
    return index == np.arange(size).reshape(size, *(1,) * (-1 - dim))


@linear(cost=moves, effort=per_result(40), memory=arrays(2))
def _selected(input: Tensor, index: Tensor, *, dim: int) -> Type:
    """The elements at `index`, which has size 1 along `dim`."""
    return Type(input.dtype, index.shape)


@_selected.kernel
def _(input: np.ndarray, index: np.ndarray, *, dim: int) -> np.ndarray:
    return np.take_along_axis(input, index, axis=dim)


@_selected.vjp("input")
def _(grad: Tensor, out: Tensor, input: Tensor, index: Tensor, *, dim: int) -> Tensor:
    return where(_is_at(index, dim=dim, size=input.shape[dim]), grad, 0.0)


def selected(input: Tensor, index: Tensor, dim: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    """Return the elements at an index along `dim`, and the index."""
    values = _selected(input, index, dim=dim)
    shape = reduced_shape(input.shape, (dim,), keepdim)
    return reshaped(values, shape), reshaped(index, shape)


Place = Callable[..., Tensor]


def _along(place: Place, input: Tensor, dim: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    """Return the elements along `dim` at the index that `place` computes, and the index."""
    axis = wrap_dim(dim, input.ndim)
    if not input.ndim:
        return same(input), constant(0, int64)
    require_elements(input, (axis,))
    return selected(input, place(input, dim=axis), axis, keepdim)


@dataclass(frozen=True, slots=True)
class _Extremum:
    """The three forms of max and min: of all elements, along a dim with indices, and elementwise of two tensors."""

    of_all: Place
    place: Place
    of_two: Place

    def __call__(
        self, input: Tensor, dim: int | Tensor | None, keepdim: bool, other: Tensor | None
    ) -> Tensor | tuple[Tensor, Tensor]:
        second = dim if isinstance(dim, Tensor) else other
        if second is not None:
            return self.of_two(input, second)
        if isinstance(dim, int):
            return _along(self.place, input, dim, keepdim)
        dims = wrap_dims(None, input.ndim)
        require_elements(input, dims)
        return self.of_all(input, dims=dims, keepdim=False, of_nan=True)


_maximum = _Extremum(_amax, _argmax, maximum)
_minimum = _Extremum(_amin, _argmin, minimum)


def _backward_name(name: str, given: Mapping[str, Any]) -> str:
    """Return PyTorch's grad_fn name for the form of max or min."""
    dim = given.get("dim")
    if isinstance(dim, Tensor) or given.get("other") is not None:
        return camel(f"{name}imum")
    return f"{name.title()}Backward{1 if dim is None else 0}"


_EXTREMUM_SAMPLES = (
    sample(real(2, 3), 1),
    sample(real(2, 3)),
    sample(real(2, 3, 2), -2, True),
    sample(real(2, 3), real(2, 3)),
    sample(real(), 0),
    sample(real()),
)


@op(grad_fn=lambda given, out: _backward_name("max", given), samples=_EXTREMUM_SAMPLES)
def max(
    input: Tensor, dim: int | Tensor | None = None, keepdim: bool = False, *, other: Tensor | None = None
) -> Tensor | tuple[Tensor, Tensor]:
    """Largest of all elements; along `dim`, values and indices; with a second tensor, the elementwise maximum.

    Of equal elements along `dim`, the first is returned and gets the gradient. Source: torch.max.
    """
    return _maximum(input, dim, keepdim, other)


@op(grad_fn=lambda given, out: _backward_name("min", given), samples=_EXTREMUM_SAMPLES)
def min(
    input: Tensor, dim: int | Tensor | None = None, keepdim: bool = False, *, other: Tensor | None = None
) -> Tensor | tuple[Tensor, Tensor]:
    """Smallest of all elements; along `dim`, values and indices; with a second tensor, the elementwise minimum.

    Of equal elements along `dim`, the first is returned and gets the gradient. Source: torch.min.
    """
    return _minimum(input, dim, keepdim, other)


_INDEX_SAMPLES = (sample(real(2, 3)), sample(real(2, 3), 1), sample(real(2, 3), 0, True), sample(real()))


def _index(place: Place, input: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    require_number(input)
    if dim is None:
        shape = (1,) * input.ndim if keepdim else ()
        return reshaped(_along(place, reshaped(input, (input.numel,)), 0, keepdim=True)[1], shape)
    return _along(place, input, dim, keepdim)[1]


@op(samples=_INDEX_SAMPLES)
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Index of the first largest element along `dim`, or in the flattened input. Source: torch.argmax."""
    return _index(_argmax, input, dim, keepdim)


@op(samples=_INDEX_SAMPLES)
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Index of the first smallest element along `dim`, or in the flattened input. Source: torch.argmin."""
    return _index(_argmin, input, dim, keepdim)
