"""Normalisation ops: scale rows to mean 0 and variance 1, or to a given norm, then scale and shift by weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from engine.errors import OpError
from engine.graph.graph import Tensor, Type
from engine.graph.op import op
from engine.graph.primitive import primitive
from engine.graph.samples import fixed, positive, real, sample
from engine.graph.threads import CORES, shared
from engine.graph.traits import along_dims, arrays, per_input
from engine.graph.types import Shape, numel, wrap_dims
from engine.ops.checks import require_floating, require_one_dtype, require_shape
from engine.ops.elementwise.power import rsqrt, square
from engine.ops.elementwise.selection import clamp
from engine.ops.kernels.precision import in_single
from engine.ops.kernels.reduce import LONGEST, along_rows, reduced_shape
from engine.ops.reduction.sums import summed
from engine.ops.reduction.vector_norms import vector_norm_over
from engine.ops.shape.movement import reshaped, same

Dims = tuple[int, ...]


# The primitive


def _count(shape: Shape, dims: Dims) -> int:
    return math.prod(shape[dim] for dim in dims)


@primitive(cost=per_input(6), effort=along_dims(8, 2), memory=arrays(2))
def _standardized(input: Tensor, *, dims: Dims, eps: float) -> tuple[Type, Type]:
    """`(input - mean) * scale` and `scale = 1 / sqrt(variance + eps)` over negative `dims`, size 1 in the scale."""
    return Type(input.dtype, input.shape), Type(input.dtype, reduced_shape(input.shape, dims, keepdim=True))


@_standardized.kernel
def _(input: np.ndarray, *, dims: Dims, eps: float) -> tuple[np.ndarray, np.ndarray]:
    dtype = input.dtype
    wide = input.astype(np.float32) if dtype == np.float16 else input
    standard = np.empty(wide.shape, wide.dtype)
    scale = np.empty(reduced_shape(wide.shape, dims, keepdim=True), wide.dtype)
    rows = _as_rows(dims, wide, standard, scale)
    if rows is None:
        _standardize(wide, standard, scale, dims, eps)
    else:
        shared(partial(_standardize, dims=(-1,), eps=eps), _parts(rows))
    return standard.astype(dtype, copy=False), scale.astype(dtype, copy=False)


def _standardize(input: np.ndarray, standard: np.ndarray, scale: np.ndarray, dims: Dims, eps: float) -> None:
    """Write the results."""
    count = _count(input.shape, dims)
    with np.errstate(all="ignore"):
        np.subtract(input, _sums(input, dims) / count, out=standard)
        variance = _sums_of_products(standard, standard, dims) / count
        np.reciprocal(np.sqrt(variance + eps), out=scale)
        np.multiply(standard, scale, out=standard)


_WORTH_CORES = 2**20
"""Minimum number of elements to use several cores: 0.8 ms on one core."""


def _as_rows(dims: Dims, *arrays: np.ndarray) -> list[np.ndarray] | None:
    """Return views of the arrays as matrices with the elements of `dims` as rows, or None if a view is impossible."""
    if dims != tuple(range(-len(dims), 0)) or not all(array.flags.c_contiguous and array.size for array in arrays):
        return None
    return [array.reshape(-1, math.prod(array.shape[-len(dims) :])) for array in arrays]


def _parts(rows: Sequence[np.ndarray]) -> list[tuple[np.ndarray, ...]]:
    """Return matrices of equally many rows, divided into parts for the cores."""
    count = CORES if rows[0].size >= _WORTH_CORES else 1
    ends = [len(rows[0]) * part // count for part in range(count + 1)]
    return [tuple(array[start:stop] for array in rows) for start, stop in pairwise(ends)]


def _sums(array: np.ndarray, dims: Dims) -> np.ndarray:
    return along_rows(array) if dims == (-1,) else np.add.reduce(array, axis=dims, keepdims=True)


def _sums_of_products(first: np.ndarray, second: np.ndarray, dims: Dims) -> np.ndarray:
    """Sums of products over `dims`, kept with size 1; short rows need no array of products."""
    if dims != (-1,) or first.shape[-1] > LONGEST:
        return np.asarray(np.add.reduce(first * second, axis=dims, keepdims=True))
    return np.asarray(np.einsum("...i,...i->...", first, second))[..., None]


@_standardized.vjp
def _(
    grads: Sequence[Tensor | None], outs: tuple[Tensor, Tensor], input: Tensor, *, dims: Dims, eps: float
) -> Tensor | None:
    grad, scale_grad = grads
    standard, scale = outs
    by_input: Tensor | None = None
    if grad is not None:
        by_input = _standardized_gradient(grad, standard, scale, dims=dims)
    if scale_grad is not None:
        by_scale = standard * (scale_grad * square(scale) * (-1 / max(_count(input.shape, dims), 1)))
        by_input = by_scale if by_input is None else by_input + by_scale
    return by_input


@primitive(cost=per_input(8), effort=along_dims(10, 2), memory=arrays(2))
def _standardized_gradient(grad: Tensor, standard: Tensor, scale: Tensor, *, dims: Dims) -> Type:
    """The cotangent of the input: `(grad - mean(grad) - standard * mean(grad * standard)) * scale`."""
    return Type(grad.dtype, grad.shape)


@_standardized_gradient.kernel
@in_single
def _(grad: np.ndarray, standard: np.ndarray, scale: np.ndarray, *, dims: Dims) -> np.ndarray:
    result = np.empty(grad.shape, grad.dtype)
    rows = _as_rows(dims, grad, standard, scale, result)
    if rows is None:
        _pull_back(grad, standard, scale, result, dims)
    else:
        _pull_back(rows[0], rows[1], rows[2], rows[3], (-1,))
    return result


def _pull_back(grad: np.ndarray, standard: np.ndarray, scale: np.ndarray, result: np.ndarray, dims: Dims) -> None:
    """Write the result."""
    share = 1 / max(_count(grad.shape, dims), 1)
    np.multiply(standard, _sums_of_products(grad, standard, dims) * share, out=result)
    np.subtract(grad, result, out=result)
    result -= _sums(grad, dims) * share
    result *= scale


@_standardized_gradient.vjp("grad")
def _(grad: Tensor, out: Tensor, inner: Tensor, standard: Tensor, scale: Tensor, *, dims: Dims) -> Tensor:
    back: Tensor = _standardized_gradient(grad, standard, scale, dims=dims)
    return back


@_standardized_gradient.vjp("standard")
def _(grad: Tensor, out: Tensor, inner: Tensor, standard: Tensor, scale: Tensor, *, dims: Dims) -> Tensor:
    scaled = grad * scale
    return -(scaled * _mean(inner * standard, dims) + inner * _mean(scaled * standard, dims))


@_standardized_gradient.vjp("scale")
def _(grad: Tensor, out: Tensor, inner: Tensor, standard: Tensor, scale: Tensor, *, dims: Dims) -> Tensor:
    unscaled = inner - _mean(inner, dims) - standard * _mean(inner * standard, dims)
    return summed(grad * unscaled, dims, keepdim=True)


def _mean(input: Tensor, dims: Dims) -> Tensor:
    return summed(input, dims, keepdim=True) * (1 / max(_count(input.shape, dims), 1))


def standardized(input: Tensor, dims: Dims, eps: float) -> Tensor:
    """The input with mean 0 and variance 1 over negative `dims`."""
    result: Tensor = _standardized(input, dims=dims, eps=eps)[0]
    return result


def _affine(input: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    if weight is not None:
        input = input * weight
    return input if bias is None else input + bias


# Over the last dimensions


def _normalized_dims(input: Tensor, normalized_shape: tuple[int, ...], **tensors: Tensor | None) -> Dims:
    """Return the dims to normalise over. Raises OpError if shapes do not match `normalized_shape`."""
    require_floating(input)
    require_one_dtype(input=input, **tensors)
    count = len(normalized_shape)
    if not count or input.shape[-count:] != normalized_shape:
        raise OpError(
            "shape_mismatch",
            f"input has shape {list(input.shape)}, which does not end in normalized_shape {list(normalized_shape)}",
            "Give the sizes of the last dimensions, one at least.",
            "normalized_shape",
        )
    for name, tensor in tensors.items():
        if tensor is not None:
            require_shape(tensor, normalized_shape, name, "as normalized_shape is that")
    return tuple(range(-count, 0))


@op(
    grad_fn="NativeLayerNormBackward0",
    samples=(
        sample(real(2, 4), (4,), real(4), real(4)),
        sample(real(2, 3, 2), (3, 2)),
        sample(real(2, 4), (4,), real(4), eps=0.1),
        sample(real(2, 4), (4,), bias=real(4)),
        sample(real(0, 4), (4,)),
    ),
)
def layer_norm(
    input: Tensor,
    normalized_shape: tuple[int, ...],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """`(input - mean) / sqrt(variance + eps) * weight + bias` over the last dimensions, of sizes `normalized_shape`.

    Source: Ba et al. 2016, "Layer normalization"; torch.nn.functional.layer_norm.
    """
    dims = _normalized_dims(input, normalized_shape, weight=weight, bias=bias)
    return _affine(standardized(input, dims, eps), weight, bias)


@op(samples=(sample(real(2, 4), (4,), real(4)), sample(real(2, 3, 2), (3, 2), eps=0.1)))
def rms_norm(
    input: Tensor, normalized_shape: tuple[int, ...], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """`input / sqrt(mean(input**2) + eps) * weight` over the last dimensions, of sizes `normalized_shape`.

    `eps` is the input's dtype's if it is left out. Source: Zhang and Sennrich 2019; torch.nn.functional.rms_norm.
    """
    dims = _normalized_dims(input, normalized_shape, weight=weight)
    least = float(np.finfo(input.dtype.numpy).eps) if eps is None else eps
    power = summed(square(input), dims, keepdim=True) / max(numel(normalized_shape), 1)
    return _affine(input * rsqrt(power + least), weight, None)


# Over channels


def _channels(input: Tensor, **tensors: Tensor | None) -> int:
    """Return the size of dimension 1. Raises OpError if it is missing, or if the weights have another size."""
    require_floating(input)
    if input.ndim < 2:
        raise OpError(
            "shape_mismatch", f"input has shape {list(input.shape)}; it needs (N, C, ...)", "Add dimensions.", "input"
        )
    for name, tensor in tensors.items():
        if tensor is not None:
            require_shape(tensor, (input.shape[1],), name, "as every channel has one")
    return input.shape[1]


def _per_channel(values: Tensor | None, input: Tensor) -> Tensor | None:
    return None if values is None else reshaped(values, (values.numel, *(1,) * (input.ndim - 2)))


def _require_several(count: int, input: Tensor) -> None:
    if count == 1:
        raise OpError(
            "shape_mismatch",
            f"input of shape {list(input.shape)} has one value a channel, whose variance is 0",
            "Give more than one value to normalise over.",
            "input",
        )


def _batch_norm_grad_fn(given: Mapping[str, Any], out: Any) -> str:
    affine = given.get("weight") is not None or given.get("bias") is not None
    return "NativeBatchNormBackward0" if given["input"].numel or affine else "CloneBackward0"


@op(
    grad_fn=_batch_norm_grad_fn,
    samples=(
        sample(real(4, 3), fixed(3), positive(3), real(3), real(3)),
        sample(real(2, 3, 2), None, None, real(3), real(3), training=True),
        sample(real(4, 3), None, None, training=True, eps=0.1),
    ),
)
def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Each channel (dimension 1) normalised by its own statistics in training, by the running ones otherwise.

    Running statistics are not updated: a request changes nothing, so `momentum` has no effect. Source: Ioffe and
    Szegedy 2015; torch.nn.functional.batch_norm.
    """
    if input.ndim < 2 and not input.numel:
        return same(input)  # PyTorch returns an empty input of any rank
    channels = _channels(input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if training:
        if channels:
            _require_several(input.numel // channels, input)
        dims = (-input.ndim, *range(2 - input.ndim, 0))
        normal = standardized(input, dims, eps)
    else:
        centre, power = _per_channel(running_mean, input), _per_channel(running_var, input)
        if centre is None or power is None:
            raise OpError(
                "missing_argument",
                "without training, running_mean and running_var are what the input is normalised by",
                "Give both, or training true.",
            )
        normal = (input - centre) * rsqrt(power + eps)
    return _affine(normal, _per_channel(weight, input), _per_channel(bias, input))


@op(
    grad_fn="NativeGroupNormBackward0",
    samples=(
        sample(real(2, 4, 3), 2, real(4), real(4)),
        sample(real(2, 4), 2),
        sample(real(1, 3, 2, 2), 3, eps=0.1),
    ),
)
def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Each of `num_groups` groups of channels of each sample normalised by its own mean and variance.

    Source: Wu and He 2018; torch.nn.functional.group_norm.
    """
    channels = _channels(input, weight=weight, bias=bias)
    if num_groups < 1 or channels % num_groups:
        raise OpError(
            "shape_mismatch",
            f"{channels} channels do not divide into {num_groups} groups",
            "Give a number of groups that divides the channels.",
            "num_groups",
        )
    grouped = reshaped(input, (input.shape[0], num_groups, numel(input.shape[1:]) // num_groups))
    normal = reshaped(standardized(grouped, (-1,), eps), input.shape)
    return _affine(normal, _per_channel(weight, input), _per_channel(bias, input))


@op(samples=(sample(real(2, 3, 4), weight=real(3), bias=real(3)), sample(real(1, 2, 2, 2))))
def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Each channel of each sample normalised by its own mean and variance, or by running ones.

    Running statistics are not updated, so `momentum` has no effect. Source: Ulyanov et al. 2016;
    torch.nn.functional.instance_norm.
    """
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    _channels(input, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    _require_several(numel(input.shape[2:]), input)
    normal = standardized(input, tuple(range(2 - input.ndim, 0)), eps)
    return _affine(normal, _per_channel(weight, input), _per_channel(bias, input))


@op(
    samples=(
        sample(real(2, 3)),
        sample(real(2, 3, 2), 1.5, -1),
        sample(real(3), dim=0, eps=5.0),
    )
)
def normalize(input: Tensor, p: float = 2.0, dim: int | tuple[int, ...] = 1, eps: float = 1e-12) -> Tensor:
    """The input divided by its p-norm along `dim`, or by `eps` if that is larger.

    Source: torch.nn.functional.normalize.
    """
    require_floating(input)
    return input / clamp(vector_norm_over(input, p, wrap_dims(dim, input.ndim), keepdim=True), min=eps)
