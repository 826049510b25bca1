"""The ops `unfold` and `fold`: sliding blocks of images to columns, and columns summed to images."""

from __future__ import annotations

import math

from engine.errors import OpError
from engine.graph.graph import Tensor
from engine.graph.op import op
from engine.graph.samples import real, sample
from engine.ops.checks import require_floating
from engine.ops.indexing.slicing import cropped, padded
from engine.ops.shape.movement import permuted, reshaped
from engine.ops.windows.windows import Sizes, folded, per_dimension, window_counts, windows

Numbers = int | tuple[int, ...]
_BLOCKS_LAST = (-6, -5, -2, -1, -4, -3)
"""(N, C, *counts, *kernel) as (N, C, *kernel, *counts); the order is its own inverse."""


def _batched(input: Tensor, rank: int, shape: str) -> Tensor:
    require_floating(input)
    if input.ndim not in (rank - 1, rank) or 0 in input.shape[1 - rank :]:
        raise OpError(
            "shape_mismatch",
            f"input has shape {list(input.shape)}; it must be (N, {shape}) or ({shape}), and only N may be 0",
            "Reshape the input.",
            "input",
        )
    return input if input.ndim == rank else reshaped(input, (1, *input.shape))


def _blocks(sizes: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Sizes:
    """Return the number of blocks along each dimension. Raises OpError if there are none."""
    full = tuple(size + 2 * width for size, width in zip(sizes, padding, strict=True))
    counts = window_counts(full, kernel, stride, dilation)
    if 0 in counts:
        raise OpError(
            "shape_mismatch",
            f"blocks of {list(kernel)} do not fit into {list(full)}, the size with padding",
            "Use smaller blocks, or more padding.",
            "kernel_size",
        )
    return counts


@op(
    grad_fn="Im2ColBackward0",
    samples=(sample(real(2, 2, 3, 4), (2, 3)), sample(real(1, 4, 4), 2, 2, 1, (1, 2))),
)
def unfold(
    input: Tensor, kernel_size: Numbers, dilation: Numbers = 1, padding: Numbers = 0, stride: Numbers = 1
) -> Tensor:
    """Every block of the images as a column: (N, C, H, W) -> (N, C * kh * kw, blocks); N may be left out.

    Source: torch.nn.functional.unfold.
    """
    batch = _batched(input, 4, "C, H, W")
    kernel, steps = per_dimension(kernel_size, 2, "kernel_size"), per_dimension(stride, 2, "stride")
    spread, around = per_dimension(dilation, 2, "dilation"), per_dimension(padding, 2, "padding", 0)
    counts = _blocks(batch.shape[2:], kernel, steps, around, spread)
    full = padded(batch, tuple((width, width, 0) for width in around))
    columns = permuted(windows(full, kernel, steps, spread), _BLOCKS_LAST)
    return reshaped(columns, (*input.shape[:-3], batch.shape[1] * math.prod(kernel), math.prod(counts)))


@op(
    grad_fn="Col2ImBackward0",
    samples=(sample(real(2, 8, 6), (3, 4), 2), sample(real(4, 8), (4, 4), 2, 2, 1, (1, 2))),
)
def fold(
    input: Tensor,
    output_size: Numbers,
    kernel_size: Numbers,
    dilation: Numbers = 1,
    padding: Numbers = 0,
    stride: Numbers = 1,
) -> Tensor:
    """Columns as blocks of images, summed where they overlap: (N, C * kh * kw, blocks) -> (N, C, H, W).

    The transpose of `unfold`; N may be left out. Source: torch.nn.functional.fold.
    """
    batch = _batched(input, 3, "C * kh * kw, blocks")
    sizes, kernel = per_dimension(output_size, 2, "output_size"), per_dimension(kernel_size, 2, "kernel_size")
    steps, spread = per_dimension(stride, 2, "stride"), per_dimension(dilation, 2, "dilation")
    around = per_dimension(padding, 2, "padding", 0)
    counts = _blocks(sizes, kernel, steps, around, spread)
    channels, rest = divmod(batch.shape[1], math.prod(kernel))
    if rest or batch.shape[2] != math.prod(counts):
        raise OpError(
            "shape_mismatch",
            f"input has shape {list(input.shape)}; blocks of {list(kernel)} of images of {list(sizes)} are "
            f"{math.prod(counts)} columns of a multiple of {math.prod(kernel)} elements",
            "Give the arguments that unfold was called with, and output_size the images' size.",
            "input",
        )
    columns = reshaped(batch, (batch.shape[0], channels, *kernel, *counts))
    full = tuple(size + 2 * width for size, width in zip(sizes, around, strict=True))
    whole = folded(permuted(columns, _BLOCKS_LAST), full, steps, spread)
    made = cropped(whole, tuple((width, width + size, 1) for size, width in zip(sizes, around, strict=True)))
    return made if input.ndim == 3 else reshaped(made, made.shape[1:])
