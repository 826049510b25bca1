"""Arguments of pooling ops: checks, the number of windows, and the padding that gives the window count of PyTorch.

The average and max pooling ops use it.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import OpError
from engine.graph.graph import Tensor
from engine.graph.types import Shape
from engine.ops.indexing.slicing import padded
from engine.ops.shape.movement import reshaped
from engine.ops.windows.windows import Sizes, per_dimension, reach, with_batch

Numbers = int | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PoolArguments:
    """Windows over an input of shape (N, C, *sizes). `batched`: the input has N. `counts`: number of windows."""

    batched: bool
    channels: Shape
    sizes: Sizes
    kernel: Sizes
    stride: Sizes
    padding: Sizes
    dilation: Sizes
    counts: Sizes

    def padded(self, input: Tensor, value: float) -> Tensor:
        """Return the input with N, padded with `value` up to the end of the windows."""
        each = zip(self.sizes, self.kernel, self.stride, self.padding, self.dilation, self.counts, strict=True)
        widths = tuple(
            (before, max((count - 1) * step + reach(k, d) - size - before, 0), 0)
            for size, k, step, before, d, count in each
        )
        return padded(reshaped(input, (*self.channels, *self.sizes)), widths, value)

    def restored(self, result: Tensor) -> Tensor:
        """Return the result without N if the input has no N."""
        return result if self.batched else reshaped(result, result.shape[1:])


def pool(
    input: Tensor,
    dims: int,
    kernel_size: Numbers,
    stride: Numbers | None,
    padding: Numbers,
    dilation: Numbers = 1,
    ceil_mode: bool = False,
) -> PoolArguments:
    """Return the windows of a pooling op. Raises OpError if the arguments do not match the input or each other."""
    shape = with_batch(input, dims)
    if 0 in shape[1:]:
        raise OpError(
            "shape_mismatch",
            f"input has shape {list(input.shape)}; only the batch dimension may be empty",
            "Give a larger input.",
            "input",
        )
    kernel = per_dimension(kernel_size, dims, "kernel_size")
    steps = kernel if stride is None or stride == () else per_dimension(stride, dims, "stride")
    spread = per_dimension(dilation, dims, "dilation")
    before = per_dimension(padding, dims, "padding", 0)
    spans = tuple(map(reach, kernel, spread))
    if any(2 * width > span for width, span in zip(before, spans, strict=True)):
        raise OpError(
            "padding",
            f"padding {list(before)} is over half of what a window spans, {list(spans)}",
            "Use less padding, or a larger kernel.",
            "padding",
        )
    counts = tuple(
        _count(size, span, step, width, ceil_mode)
        for size, span, step, width in zip(shape[2:], spans, steps, before, strict=True)
    )
    if min(counts) < 1:
        raise OpError(
            "shape_mismatch",
            f"windows that span {list(spans)} do not fit into the input of shape {list(input.shape)}",
            "Use a smaller kernel or dilation, or more padding.",
            "kernel_size",
        )
    return PoolArguments(input.ndim == dims + 2, shape[:2], shape[2:], kernel, steps, before, spread, counts)


def _count(size: int, span: int, step: int, padding: int, ceil_mode: bool) -> int:
    """Return the number of windows; none starts in the padding at the end. Source: ATen's pooling_output_shape."""
    room = size + 2 * padding - span
    count = (room + (step - 1 if ceil_mode else 0)) // step + 1
    return count - 1 if ceil_mode and (count - 1) * step >= size + padding else count
