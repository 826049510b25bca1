"""The convolution primitive, and its transposes with respect to images and weights. Convolution ops call them.

Each of the three is the derivative of `sum(images[window] * weights * results)` with respect to one factor. The
gradient rules of each primitive are therefore the other two, and derivatives of every order use only these three.

Images and results are batch-last, which makes the kernels fast (see `engine.ops.windows.im2col`).
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from engine.graph.graph import Node, Tensor, Type
from engine.graph.kernel import InSingle
from engine.graph.primitive import Declared, multilinear
from engine.graph.relation import PROBE, Relation, Side, numbered, through, without
from engine.graph.traits import CALL
from engine.graph.types import numel
from engine.ops.windows.im2col import Slide, correlated, layout, most_bytes, spread, weighed, windows_of
from engine.ops.windows.windows import Sizes, window_counts

Array = np.ndarray[Any, Any]

_SMALL_BATCH = 32
"""Number of images up to which NumPy's copy along the last dimension is slower (up to 6x) than one copy per image."""


# Traits


def _roles(node: Node) -> tuple[Tensor, Tensor, Tensor]:
    """Return a node's images, weights and results: two are inputs, and the third is the output."""
    given = dict(zip(node.primitive.tensors, node.inputs, strict=True))
    made = node.outputs[0]
    return given.get("images", made), given.get("weights", made), given.get("results", made)


def _operations(node: Node) -> int:
    """2 c for each window position and each result: the operations of the sum that defines a convolution."""
    _, weights, results = _roles(node)
    return 2 * results.numel * prod(weights.shape[-len(node.params["stride"]) - 1 :])


def _effort(node: Node) -> int:
    """Products, column copies, one call for each weight matrix, and one call for each window position and block."""
    images, weights, results = _roles(node)
    dims = len(node.params["stride"])
    batch, (channels, *kernel) = numel(weights.shape[: -dims - 2]), weights.shape[-dims - 1 :]
    counts, n = results.shape[-dims - 1 : -1], results.shape[-1]
    columns = batch * channels * prod(kernel) * numel(counts) * n
    work = _operations(node) + (4 + 16 // max(n, 1)) * columns + CALL * batch
    if not columns or node.outputs[0] is not images:
        return work
    slide = Slide(tuple(kernel), node.params["stride"], node.params["dilation"])
    how = layout(batch, channels, counts, n, max(images.dtype.itemsize, 4), slide)
    blocks = -(-batch // how.images) * -(-counts[0] // how.rows)
    return work + 3 * CALL * blocks * (kernel[0] + prod(kernel[1:]) if how.by_row else prod(kernel))


def _workspace(node: Node) -> int:
    """Upper bound on operand copies, partial sums of weights, and columns with their products."""
    dims = len(node.params["stride"])
    images, weights, results = _roles(node)
    batch, (channels, *kernel) = numel(weights.shape[: -dims - 2]), weights.shape[-dims - 1 :]
    slide = Slide(tuple(kernel), node.params["stride"], node.params["dilation"])
    itemsize = max(images.dtype.itemsize, 4)
    work = results.numel * channels * prod(kernel)
    counts, n = results.shape[-dims - 1 : -1], results.shape[-1]
    columns = most_bytes(batch, channels, counts, n, itemsize, slide, work)
    copies = sum(tensor.numel for tensor in (images, weights, results)) * (
        1 if itemsize == images.dtype.itemsize else 3
    )
    return itemsize * (copies + 3 * weights.numel) + 2 * columns


def _relation(node: Node, position: int, result: int) -> Relation | None:
    """Relate images and results window by window, and the weights to a channel of images or results."""
    given = node.primitive.tensors
    (made,) = {"images", "weights", "results"}.difference(given)
    roles = (given[position], made)
    if "weights" not in roles:
        return _by_windows(node, position, result)
    dims = len(node.params["stride"])
    by = 1 if "images" in roles else 0
    sides = []
    for role, tensor in zip(roles, (node.inputs[position], node.outputs[result]), strict=True):
        channel = -dims - 2 + (by if role == "weights" else 0)
        kept = without(tensor.shape, [dim for dim in range(-dims - 2, 0) if dim != channel])
        sides.append((kept, tensor.shape))
    return through(position, result, sides[0], sides[1])


def _by_windows(node: Node, position: int, result: int) -> Relation | None:
    """Relate each window of images to all channels of its results; None if the windows have too many elements."""
    images, weights, results = _roles(node)
    dims = len(node.params["stride"])
    lead, kernel = weights.shape[: -dims - 2], weights.shape[-dims:]
    hubs = (*lead, 1, *results.shape[-dims - 1 :])
    if numel(hubs) * numel(weights.shape[-dims - 1 :]) > PROBE:
        return None
    slide = Slide(kernel, node.params["stride"], node.params["dilation"])
    elements = windows_of(np.arange(images.numel).reshape(images.shape), hubs[-dims - 1 : -1], slide)
    number = np.arange(numel(hubs)).reshape(*lead, 1, *(1,) * dims, *hubs[-dims - 1 :])
    window = Side(np.broadcast_to(number, elements.shape).ravel(), elements.ravel())
    whole = Side(numbered(hubs, results.shape))
    source, target = (window, whole) if node.primitive.tensors[position] == "images" else (whole, window)
    return Relation(position, result, source, target, numel(hubs))


_TRAITS: Declared = {
    "cost": _operations,
    "effort": _effort,
    "memory": _workspace,
    "relation": _relation,
    "analytic": True,
    "blas": True,
    "channels_first": True,
}
"""Traits common to the three primitives."""

# Types


@multilinear(**_TRAITS)
def _correlation(images: Tensor, weights: Tensor, *, stride: Sizes, dilation: Sizes) -> Type:
    """The correlation of images with weights, as in a convolution layer.

    Shapes: images (*, c, *sizes, n), weights (*, o, c, *kernel) -> (*, o, *counts, n).
    """
    dims = len(stride)
    counts = window_counts(images.shape[-dims - 1 : -1], weights.shape[-dims:], stride, dilation)
    return Type(images.dtype, (*weights.shape[: -dims - 1], *counts, images.shape[-1]))


@multilinear(**_TRAITS)
def _correlation_images(results: Tensor, weights: Tensor, *, sizes: Sizes, stride: Sizes, dilation: Sizes) -> Type:
    """(*, o, *counts, n), weights (*, o, c, *kernel) -> images (*, c, *sizes, n)."""
    dims = len(stride)
    return Type(results.dtype, (*weights.shape[: -dims - 2], weights.shape[-dims - 1], *sizes, results.shape[-1]))


@multilinear(**_TRAITS)
def _correlation_weights(images: Tensor, results: Tensor, *, window: Sizes, stride: Sizes, dilation: Sizes) -> Type:
    """(*, c, *sizes, n), results (*, o, *counts, n) -> weights (*, o, c, *window)."""
    dims = len(stride)
    return Type(images.dtype, (*results.shape[: -dims - 1], images.shape[-dims - 2], *window))


# Kernels


def _merged(array: Array, lead: int) -> Array:
    """(*lead, ...) -> (b, ...), contiguous."""
    return _contiguous(array).reshape(prod(array.shape[:lead]), *array.shape[lead:])


def _contiguous(array: Array) -> Array:
    """Return the array, C-contiguous; a small batch that was the first axis is copied image by image."""
    if array.flags.c_contiguous or array.shape[-1] > _SMALL_BATCH or array.strides[-1] < max(array.strides):
        return np.ascontiguousarray(array)
    made = np.empty(array.shape, array.dtype)
    for image in range(array.shape[-1]):
        made[..., image] = array[..., image]
    return made


def _slid(
    kernel: Callable[[Array, Array, Sizes, Slide], Array], array: Array, weights: Array, sizes: Sizes, slide: Slide
) -> Array:
    """Return a kernel's result on arrays with leading dimensions.

    A leading dimension along which the weights are constant becomes part of the batch, and needs one product.
    """
    lead = weights.ndim - len(sizes) - 2
    alike = [axis for axis in range(lead) if weights.strides[axis] == 0 and weights.shape[axis] > 1]
    if not alike:
        made = kernel(_merged(array, lead), _merged(weights, lead), sizes, slide)
        return made.reshape(*weights.shape[:lead], *made.shape[1:])
    behind = range(-len(alike) - 1, -1)
    moved = np.moveaxis(array, alike, behind)
    kept = moved.shape[len(moved.shape) - len(alike) - 1 :]
    one = weights[tuple(0 if axis in alike else slice(None) for axis in range(lead))]
    made = _slid(kernel, moved.reshape(*moved.shape[: -len(kept)], prod(kept)), one, sizes, slide)
    return np.moveaxis(made.reshape(*made.shape[:-1], *kept), behind, alike)


@_correlation.kernel
@InSingle
def _(images: Array, weights: Array, *, stride: Sizes, dilation: Sizes) -> Array:
    dims = len(stride)
    kernel = weights.shape[-dims:]
    counts = window_counts(images.shape[-dims - 1 : -1], kernel, stride, dilation)
    return _slid(correlated, images, weights, counts, Slide(kernel, stride, dilation))


@_correlation_images.kernel
@InSingle
def _(results: Array, weights: Array, *, sizes: Sizes, stride: Sizes, dilation: Sizes) -> Array:
    return _slid(spread, results, weights, sizes, Slide(weights.shape[-len(stride) :], stride, dilation))


@_correlation_weights.kernel
@InSingle
def _(images: Array, results: Array, *, window: Sizes, stride: Sizes, dilation: Sizes) -> Array:
    lead = results.ndim - len(stride) - 2
    made = weighed(_merged(images, lead), _merged(results, lead), Slide(window, stride, dilation))
    return made.reshape(*results.shape[:lead], *made.shape[1:])


# Gradients


@_correlation.vjp("images")
def _(grad: Tensor, out: Tensor, images: Tensor, weights: Tensor, *, stride: Sizes, dilation: Sizes) -> Tensor:
    return correlation_images(grad, weights, images.shape[-len(stride) - 1 : -1], stride, dilation)


@_correlation.vjp("weights")
def _(grad: Tensor, out: Tensor, images: Tensor, weights: Tensor, *, stride: Sizes, dilation: Sizes) -> Tensor:
    return _weights(images, grad, weights, stride, dilation)


@_correlation_images.vjp("results")
def _(
    grad: Tensor, out: Tensor, results: Tensor, weights: Tensor, *, sizes: Sizes, stride: Sizes, dilation: Sizes
) -> Tensor:
    return correlation(grad, weights, stride, dilation)


@_correlation_images.vjp("weights")
def _(
    grad: Tensor, out: Tensor, results: Tensor, weights: Tensor, *, sizes: Sizes, stride: Sizes, dilation: Sizes
) -> Tensor:
    return _weights(grad, results, weights, stride, dilation)


@_correlation_weights.vjp("images")
def _(
    grad: Tensor, out: Tensor, images: Tensor, results: Tensor, *, window: Sizes, stride: Sizes, dilation: Sizes
) -> Tensor:
    return correlation_images(results, grad, images.shape[-len(stride) - 1 : -1], stride, dilation)


@_correlation_weights.vjp("results")
def _(
    grad: Tensor, out: Tensor, images: Tensor, results: Tensor, *, window: Sizes, stride: Sizes, dilation: Sizes
) -> Tensor:
    return correlation(images, grad, stride, dilation)


def _weights(images: Tensor, results: Tensor, weights: Tensor, stride: Sizes, dilation: Sizes) -> Tensor:
    window = weights.shape[-len(stride) :]
    made: Tensor = _correlation_weights(images, results, window=window, stride=stride, dilation=dilation)
    return made


# What ops call


def correlation(images: Tensor, weights: Tensor, stride: Sizes, dilation: Sizes) -> Tensor:
    """The correlation of images with weights, as in a convolution layer.

    Shapes: images (*, c, *sizes, n), weights (*, o, c, *kernel) -> (*, o, *counts, n).
    """
    made: Tensor = _correlation(images, weights, stride=stride, dilation=dilation)
    return made


def correlation_images(results: Tensor, weights: Tensor, sizes: Sizes, stride: Sizes, dilation: Sizes) -> Tensor:
    """The transpose of `correlation` with respect to the images.

    Shapes: results (*, o, *counts, n), weights (*, o, c, *kernel) -> (*, c, *sizes, n).
    """
    made: Tensor = _correlation_images(results, weights, sizes=sizes, stride=stride, dilation=dilation)
    return made
