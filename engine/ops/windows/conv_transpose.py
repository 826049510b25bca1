"""Transposed convolution ops in one, two and three dimensions: the gradient of a convolution with respect to images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from engine.errors import OpError
from engine.graph.graph import Tensor
from engine.graph.samples import real, sample
from engine.ops.checks import require_shape
from engine.ops.indexing.slicing import cropped, padded
from engine.ops.shape.movement import reshaped
from engine.ops.windows.conv import (
    batch_last,
    finished,
    grouped,
    joined,
    require_groups,
    require_kernel,
    require_operands,
)
from engine.ops.windows.correlation import correlation_images
from engine.ops.windows.spatial import spatial_op
from engine.ops.windows.windows import Sizes, per_dimension, reach, with_batch

Numbers = int | tuple[int, ...]


def _grad_fn(dims: int) -> Callable[[Mapping[str, Any], Any], str]:
    """Without a batch dimension PyTorch has three nodes, and the name is the op's own."""
    return lambda given, out: (
        "ConvolutionBackward0" if given["input"].ndim == given["weight"].ndim else f"ConvTranspose{dims}DBackward0"
    )


@spatial_op(
    grad_fn=_grad_fn,
    samples={
        1: (sample(real(2, 2, 3), real(2, 3, 2), real(3)), sample(real(4, 3), real(4, 1, 3), None, 2, 1, 1, 2, 2)),
        2: (
            sample(real(2, 2, 3, 2), real(2, 3, 2, 3), real(3)),
            sample(real(1, 4, 3, 2), real(4, 1, 2, 2), real(2), (2, 1), (1, 0), (1, 0), 2, (1, 2)),
        ),
        3: (
            sample(real(1, 2, 2, 2, 2), real(2, 2, 1, 2, 2), real(2)),
            sample(real(2, 2, 2, 1), real(2, 1, 2, 2, 1), groups=2, stride=2),
        ),
    },
)
def conv_transpose(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Numbers = 1,
    padding: Numbers = 0,
    output_padding: Numbers = 0,
    groups: int = 1,
    dilation: Numbers = 1,
    *,
    dims: int,
) -> Tensor:
    """The transpose of `conv{dims}d`'s map, of {images} with `weight` (C, out / groups, {kernel}).

    `padding` is what that convolution would have padded; `output_padding` makes the result longer at the end. Source:
    torch.nn.functional.conv_transpose{dims}d.
    """
    shape = with_batch(input, dims)
    require_kernel(weight, dims)
    require_operands(input, weight, bias)
    require_groups(groups, shape[1], weight.shape[0], weight.shape[0])
    channels, kernel = weight.shape[1] * groups, weight.shape[2:]
    if bias is not None:
        require_shape(bias, (channels,), "bias", f"as there are {channels} output channels")
    steps, spread = per_dimension(stride, dims, "stride"), per_dimension(dilation, dims, "dilation")
    before, behind = (
        per_dimension(padding, dims, "padding", 0),
        per_dimension(output_padding, dims, "output_padding", 0),
    )
    if any(width >= max(step, d) for width, step, d in zip(behind, steps, spread, strict=True)):
        raise OpError(
            "padding",
            f"output_padding {list(behind)} is not below the stride {list(steps)} or the dilation {list(spread)}",
            "Use less output_padding.",
            "output_padding",
        )
    full = tuple((n - 1) * s + reach(k, d) for n, s, k, d in zip(shape[2:], steps, kernel, spread, strict=True))
    results = grouped(batch_last(reshaped(input, shape)), groups)
    whole = correlation_images(results, grouped(weight, groups), full, steps, spread)
    return finished(_cut(joined(whole, groups), before, behind), bias, input, dims)


def _cut(whole: Tensor, before: Sizes, behind: Sizes) -> Tensor:
    """Return (C, *sizes, N) without `before` elements at both ends, but with `behind` more at the end."""
    sizes = whole.shape[1:-1]
    kept = [size + more - 2 * less for size, less, more in zip(sizes, before, behind, strict=True)]
    if min(kept) < 1:
        raise OpError(
            "shape_mismatch",
            f"padding {list(before)} leaves nothing of a result of shape {[whole.shape[-1], *whole.shape[:-1]]}",
            "Use less padding.",
            "padding",
        )
    widths = tuple((0, max(more - less, 0), 0) for less, more in zip(before, behind, strict=True))
    cuts = tuple((less, less + size, 1) for less, size in zip(before, kept, strict=True))
    return cropped(padded(whole, (*widths, (0, 0, 0))), (*cuts, (0, whole.shape[-1], 1)))
