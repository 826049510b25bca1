"""Convolution ops in one, two and three dimensions.

All use one primitive on batch-last images, which defines gradients of every order, tangents and batching.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from engine.errors import OpError
from engine.graph.graph import Tensor
from engine.graph.samples import real, sample
from engine.graph.types import Shape
from engine.ops.checks import require_number, require_one_dtype, require_shape
from engine.ops.indexing.slicing import padded
from engine.ops.shape.movement import permuted, reshaped
from engine.ops.windows.correlation import correlation
from engine.ops.windows.spatial import spatial_op
from engine.ops.windows.windows import Sizes, per_dimension, reach, with_batch

Padding = Literal["same", "valid"] | int | tuple[int, ...]


def _grad_fn(dims: int) -> Callable[[Mapping[str, Any], Any], str]:
    """Without a batch dimension PyTorch has three nodes, and the name is the op's own."""
    return lambda given, out: (
        "ConvolutionBackward0" if given["input"].ndim == given["weight"].ndim else f"Conv{dims}DBackward0"
    )


@spatial_op(
    grad_fn=_grad_fn,
    samples={
        1: (
            sample(real(2, 2, 6), real(3, 2, 3), real(3)),
            sample(real(2, 7), real(4, 1, 2), None, 2, 1, 2, 2),
            sample(real(1, 2, 5), real(2, 2, 2), padding="same"),
        ),
        2: (
            sample(real(2, 2, 4, 5), real(3, 2, 3, 2), real(3)),
            sample(real(2, 4, 5, 5), real(4, 2, 2, 2), real(4), (2, 1), (1, 0), (1, 2), 2),
            sample(real(2, 4, 4), real(2, 2, 3, 3), padding="same"),
            sample(real(1, 2, 3, 3), real(2, 2, 1, 1), padding="valid"),
        ),
        3: (
            sample(real(1, 2, 3, 3, 3), real(2, 2, 2, 2, 2), real(2)),
            sample(real(2, 2, 3, 3), real(2, 1, 2, 1, 2), groups=2),
        ),
    },
)
def conv(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: Padding = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
    *,
    dims: int,
) -> Tensor:
    """Convolution (cross-correlation) of {images} with `weight` (out, C / groups, {kernel}).

    Source: torch.nn.functional.conv{dims}d.
    """
    shape = with_batch(input, dims)
    require_kernel(weight, dims)
    require_operands(input, weight, bias)
    channels, kernel = weight.shape[0], weight.shape[2:]
    require_groups(groups, shape[1], weight.shape[1] * groups, channels)
    if bias is not None:
        require_shape(bias, (channels,), "bias", f"as there are {channels} output channels")
    steps, spread = per_dimension(stride, dims, "stride"), per_dimension(dilation, dims, "dilation")
    widths = _widths(padding, kernel, steps, spread)
    full = padded(batch_last(reshaped(input, shape)), (*widths, (0, 0, 0)))
    _require_fitting(full.shape[1:-1], kernel, spread)
    made = correlation(grouped(full, groups), grouped(weight, groups), steps, spread)
    return finished(joined(made, groups), bias, input, dims)


def batch_last(input: Tensor) -> Tensor:
    """(N, C, *sizes) -> (C, *sizes, N), without copying."""
    return permuted(input, (*range(1 - input.ndim, 0), -input.ndim))


def grouped(tensor: Tensor, groups: int) -> Tensor:
    """(C, ...) -> (groups, C / groups, ...); a single group adds no dimension."""
    return tensor if groups == 1 else reshaped(tensor, (groups, tensor.shape[0] // groups, *tensor.shape[1:]))


def joined(tensor: Tensor, groups: int) -> Tensor:
    """(groups, c, ...) -> (groups * c, ...), the inverse of `grouped`."""
    return tensor if groups == 1 else reshaped(tensor, (groups * tensor.shape[1], *tensor.shape[2:]))


def finished(made: Tensor, bias: Tensor | None, input: Tensor, dims: int) -> Tensor:
    """(C, *sizes, N) -> (N, C, *sizes) with the bias added, without N if the input has no N."""
    if bias is not None:
        made = made + reshaped(bias, (bias.numel, *(1,) * (dims + 1)))
    first = permuted(made, (-1, *range(-made.ndim, -1)))
    return first if input.ndim == dims + 2 else reshaped(first, first.shape[1:])


def _widths(padding: Padding, kernel: Shape, stride: Sizes, dilation: Sizes) -> tuple[tuple[int, int, int], ...]:
    if not isinstance(padding, str):
        return tuple((width, width, 0) for width in per_dimension(padding, len(kernel), "padding", 0))
    if padding == "same":
        if max(stride) > 1:
            raise OpError(
                "padding",
                f'padding "same" needs stride 1, and it is {list(stride)}',
                "Give padding in numbers, or stride 1.",
                "padding",
            )
        totals = [reach(k, d) - 1 for k, d in zip(kernel, dilation, strict=True)]
        return tuple((total // 2, total - total // 2, 0) for total in totals)
    return ((0, 0, 0),) * len(kernel)


def require_operands(input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """Raise OpError unless the operands are numbers of one dtype."""
    require_number(input)
    require_one_dtype(input=input, weight=weight, bias=bias)


def require_kernel(weight: Tensor, dims: int) -> None:
    """Raise OpError unless the weight has two channel dimensions and a kernel of `dims` dimensions."""
    if weight.ndim != dims + 2 or 0 in weight.shape[2:]:
        raise OpError(
            "shape_mismatch",
            f"weight has shape {list(weight.shape)}; it must have {dims + 2} dimensions, channels and a kernel's sizes",
            "Reshape the weight.",
            "weight",
        )


def require_groups(groups: int, channels: int, wanted: int, divided: int) -> None:
    """Raise OpError unless the input has `wanted` channels, and `groups` divides `divided`."""
    if groups < 1 or divided % groups:
        raise OpError(
            "groups",
            f"{divided} channels do not divide into {groups} groups",
            "Give a number of groups that divides the channels of input and output.",
            "groups",
        )
    if channels != wanted:
        raise OpError(
            "shape_mismatch",
            f"input has {channels} channels, and weight takes {wanted} with {groups} groups",
            "Channels are the dimension before the spatial ones: (N, C, ...).",
            "input",
        )


def _require_fitting(sizes: Shape, kernel: Shape, dilation: Sizes) -> None:
    spans = tuple(reach(k, d) for k, d in zip(kernel, dilation, strict=True))
    if any(size < span for size, span in zip(sizes, spans, strict=True)):
        raise OpError(
            "shape_mismatch",
            f"a kernel that spans {list(spans)} does not fit into the padded input of {list(sizes)}",
            "Use a smaller kernel or dilation, or more padding.",
            "weight",
        )
