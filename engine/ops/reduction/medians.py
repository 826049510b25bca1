"""Medians. For an even number of elements, the median is the lower of the two middle elements."""

from __future__ import annotations

import numpy as np

from engine.graph.graph import Node, Tensor, Type
from engine.graph.op import op
from engine.graph.primitive import primitive
from engine.graph.promotion import as_tensor
from engine.graph.samples import real, sample
from engine.graph.traits import arrays
from engine.graph.types import int64, wrap_dim
from engine.ops.checks import require_number
from engine.ops.kernels.reduce import reduced_shape
from engine.ops.reduction.extrema import require_elements, selected, ties_with
from engine.ops.reduction.sums import restored, summed
from engine.ops.shape.movement import reshaped, same


def _middles(input: np.ndarray, dim: int, skip_nan: bool) -> np.ndarray:
    """Return the indices of the medians. NaN is the median, unless `skip_nan` is true and a number exists."""
    order = np.argsort(input, axis=dim, kind="stable")  # NaN last
    known = np.count_nonzero(~np.isnan(input), axis=dim, keepdims=True)
    count = input.shape[dim]
    middle = (known - 1) // 2 if skip_nan else np.where(known < count, known, (count - 1) // 2)
    return np.take_along_axis(order, np.maximum(middle, 0), axis=dim)


def _comparisons(node: Node) -> int:
    """A stable sort along the dimension: n log2 n comparisons for each n elements."""
    return node.inputs[0].numel * node.inputs[0].shape[node.params["dim"]].bit_length()


def _effort(node: Node) -> int:
    """40 for each comparison, because branch prediction fails, and 100 for each element."""
    return 100 * node.inputs[0].numel + 40 * _comparisons(node)


@primitive(differentiable=False, cost=_comparisons, effort=_effort, memory=arrays(3))
def _median_index(input: Tensor, *, dim: int, skip_nan: bool) -> Type:
    return Type(int64, reduced_shape(input.shape, (dim,), keepdim=True))


@_median_index.kernel
def _(input: np.ndarray, *, dim: int, skip_nan: bool) -> np.ndarray:
    return _middles(input, dim, skip_nan)


@primitive(cost=_comparisons, effort=_effort, memory=arrays(3))
def _median(input: Tensor, *, dim: int, skip_nan: bool) -> Type:
    return Type(input.dtype, reduced_shape(input.shape, (dim,), keepdim=False))


@_median.kernel
def _(input: np.ndarray, *, dim: int, skip_nan: bool) -> np.ndarray:
    return np.take_along_axis(input, _middles(input, dim, skip_nan), axis=dim).squeeze(dim)


@_median.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, dim: int, skip_nan: bool) -> Tensor:
    """All elements equal to the median share the gradient evenly."""
    ties = as_tensor(ties_with(input, restored(out, input.shape, (dim,), keepdim=False)), grad.dtype)
    return restored(grad, input.shape, (dim,), keepdim=False) / summed(ties, (dim,), keepdim=True) * ties


def _found(input: Tensor, dim: int | None, keepdim: bool, skip_nan: bool) -> Tensor | tuple[Tensor, Tensor]:
    require_number(input)
    if dim is None:
        flat = reshaped(input, (input.numel,))
        if input.dtype.is_floating and not input.numel:
            return summed(flat, (-1,)) + float("nan")
        require_elements(flat, (-1,))
        median: Tensor = _median(flat, dim=-1, skip_nan=skip_nan)
        return median
    axis = wrap_dim(dim, input.ndim)
    if not input.ndim:
        return same(input), as_tensor(0, int64)
    require_elements(input, (axis,))
    return selected(input, _median_index(input, dim=axis, skip_nan=skip_nan), axis, keepdim)


_SAMPLES = (sample(real(5), 0), sample(real(2, 3)), sample(real(2, 4), 1), sample(real(3, 2), 0, True), sample(real()))


@op(grad_fn=lambda given, out: f"MedianBackward{0 if given.get('dim') is None else 1}", samples=_SAMPLES)
def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor | tuple[Tensor, Tensor]:
    """Median of all elements; ties share the gradient. With `dim`, the medians along it and their indices.

    The lower of two middle elements; NaN if an element is NaN. Source: torch.median.
    """
    return _found(input, dim, keepdim, skip_nan=False)


@op(grad_fn=lambda given, out: f"NanmedianBackward{0 if given.get('dim') is None else 1}", samples=_SAMPLES)
def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor | tuple[Tensor, Tensor]:
    """Median of the elements that are not NaN, as in `median`. Source: torch.nanmedian."""
    return _found(input, dim, keepdim, skip_nan=True)
