"""`embedding`, which looks up rows of a table, and `one_hot`."""

from __future__ import annotations

import numpy as np

from engine.errors import OpError
from engine.graph.graph import Tensor, Type
from engine.graph.op import op
from engine.graph.primitive import primitive
from engine.graph.samples import integers, real, sample
from engine.graph.traits import arrays, per_result
from engine.graph.types import int64
from engine.ops.autograd import detached
from engine.ops.creation import filled
from engine.ops.elementwise.comparison import eq
from engine.ops.elementwise.power import reciprocal
from engine.ops.elementwise.selection import where
from engine.ops.indexing.gather import added_at, checked, require_index, taken
from engine.ops.shape.movement import reshaped


@primitive(differentiable=False, cost=per_result(1), effort=per_result(20), memory=arrays(2))
def _one_hot(input: Tensor, *, classes: int) -> Type:
    return Type(int64, (*input.shape, classes))


@_one_hot.kernel
def _(input: np.ndarray, *, classes: int) -> np.ndarray:
    return (checked(input, classes)[..., None] == np.arange(classes)).astype(np.int64)


@op(
    samples=(sample(integers(4, 3), 4), sample(integers(3, 2, 2), 5), sample(integers(2), 2), sample(integers(1, 0), 3))
)
def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """One-hot vectors of integers. `(*shape) -> (*shape, num_classes)`.

    `num_classes` is required, because the result's shape must not depend on values.
    Source: torch.nn.functional.one_hot.
    """
    if tensor.dtype is not int64:
        raise OpError(
            "dtype",
            f"the tensor has dtype {tensor.dtype}, and classes are int64",
            'Declare "dtype": "int64".',
            "tensor",
        )
    if num_classes < 1:
        raise OpError(
            "num_classes",
            f"num_classes is {num_classes}: the number of classes is not taken from the values",
            "Give num_classes: one more than the largest class that can occur.",
            "num_classes",
        )
    made: Tensor = _one_hot(tensor, classes=num_classes)
    return made


@primitive(view=True, trailing=0)
def _scale_gradient(input: Tensor, scale: Tensor) -> Type:
    """The input. The gradient is multiplied by the scale, as in PyTorch; this is not the derivative."""
    return Type(input.dtype, input.shape)


@_scale_gradient.kernel
def _(input: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return input


@_scale_gradient.vjp("input")
def _(grad: Tensor, out: Tensor, input: Tensor, scale: Tensor) -> Tensor:
    return grad * scale


@op(
    samples=(
        sample(integers(5, 3), real(5, 2)),
        sample(integers(5, 2, 3), real(5, 2)),
        sample(integers(5), real(5, 2)),
        sample(integers(5, 2, 0), real(5, 2)),
    )
)
def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of a table at indices. `(*shape), (n, d) -> (*shape, d)`. Source: torch.nn.functional.embedding.

    The row `padding_idx` (which may count from the end) gets no gradient. `scale_grad_by_freq` divides a row's gradient
    by the count of its index in the input. `sparse` selects a storage format in PyTorch and has no effect here.
    `max_norm` raises OpError, because it changes the weight in place.
    """
    require_index(input, "input")
    if weight.ndim != 2:
        raise OpError(
            "rank", f"weight has shape {list(weight.shape)}", "Give a matrix: a row for each index.", "weight"
        )
    if max_norm is not None:
        raise OpError(
            "inplace",
            "max_norm changes the weight in place, which is not offered",
            "Leave it out, and rescale the rows before or after.",
            "max_norm",
        )
    index = reshaped(input, (input.numel,))
    rows = taken(weight, index, -2)
    if padding_idx is not None:
        padding = eq(index, _row(padding_idx, weight.shape[0]))
        rows = where(reshaped(padding, (input.numel, 1)), detached(rows), rows)
    if scale_grad_by_freq and weight.requires_grad:
        rows = _scale_gradient(rows, reciprocal(_frequencies(index, weight)))
    return reshaped(rows, (*input.shape, weight.shape[1]))


def _row(index: int, rows: int) -> int:
    if not -rows <= index < rows:
        raise OpError(
            "index_out_of_range",
            f"padding_idx {index} is out of range for a weight of {rows} rows",
            f"Use an index from {-rows} to {rows - 1}.",
            "padding_idx",
        )
    return index % rows


def _frequencies(index: Tensor, weight: Tensor) -> Tensor:
    """The number of occurrences of each index. `(k,) -> (k, 1)`, in the weight's dtype."""
    counts = added_at(filled((*index.shape, 1), 1, weight.dtype), index, -2, weight.shape[0])
    return taken(counts, index, -2)
