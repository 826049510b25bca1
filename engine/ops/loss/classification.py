"""Classification losses.

The class dimension is the second one, or the only one of an unbatched input. Targets are class indices or
probabilities of the classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.errors import OpError
from engine.graph.graph import Tensor, Type
from engine.graph.op import elementwise, op
from engine.graph.primitive import linear
from engine.graph.promotion import as_tensor
from engine.graph.samples import fixed, integers, positive, real, sample, unit
from engine.graph.traits import arrays, moves, per_input, per_result
from engine.graph.types import DType, Number, int64
from engine.ops.checks import require_floating, require_one_dtype, require_shape
from engine.ops.elementwise.comparison import ne
from engine.ops.elementwise.selection import where
from engine.ops.loss.regression import Reduction, reduced
from engine.ops.nn.softmax import log_softmax_along
from engine.ops.reduction.sums import sum, summed
from engine.ops.shape.movement import expanded, permuted, reshaped

# Primitives


def _indices(operands: Sequence[Tensor | Number]) -> tuple[tuple[DType, ...], DType]:
    return (int64,), int64


def _checked(target: np.ndarray, *, classes: int, ignore_index: int) -> np.ndarray:
    if target.size and not 0 <= ignore_index < classes and target.min() >= 0 and target.max() < classes:
        return target
    ignored = target == ignore_index
    wrong = ((target < 0) | (target >= classes)) & ~ignored
    if wrong.any():
        raise OpError(
            "index_out_of_range",
            f"target has the class {target[wrong].flat[0]}, and there are {classes} classes",
            f"Classes are 0 to {classes - 1}; ignore_index, here {ignore_index}, is left out.",
        )
    return np.where(ignored, 0, target)


@elementwise(_checked, _indices, differentiable=False, weight=8, spare=2)
def _class_index(target: Tensor, *, classes: int, ignore_index: int) -> Tensor:
    """The class indices, with 0 in place of `ignore_index`. The kernel raises OpError if one is out of range."""


@linear(cost=moves, effort=per_result(80), memory=arrays(2), trailing=1)
def _picked(input: Tensor, index: Tensor) -> Type:
    """One element of each row: (*, classes) at indices (*) -> (*)."""
    return Type(input.dtype, input.shape[:-1])


@_picked.kernel
def _(input: np.ndarray, index: np.ndarray) -> np.ndarray:
    if input.ndim < 2 or not input.flags.c_contiguous:
        return np.take_along_axis(input, np.asarray(index)[..., None], -1)[..., 0]
    return input.reshape(-1)[_flat(index, input.shape[-1])].reshape(index.shape)


@_picked.vjp("input")
def _(grad: Tensor, out: Tensor, input: Tensor, index: Tensor) -> Tensor:
    return _placed(grad, index, classes=input.shape[-1])


@linear(cost=moves, effort=per_input(60), memory=arrays(2), trailing=0)
def _placed(input: Tensor, index: Tensor, *, classes: int) -> Type:
    """Zero rows with one element set: (*) at indices (*) -> (*, classes)."""
    return Type(input.dtype, (*input.shape, classes))


@_placed.kernel
def _(input: np.ndarray, index: np.ndarray, *, classes: int) -> np.ndarray:
    rows = np.zeros((*np.shape(input), classes), input.dtype)
    rows.reshape(-1)[_flat(np.asarray(index), classes)] = np.ravel(input)
    return rows


def _flat(index: np.ndarray, classes: int) -> np.ndarray:
    """Return the flat positions of one element of each row."""
    return np.arange(0, index.size * classes, classes or 1) + index.reshape(-1)


@_placed.vjp("input")
def _(grad: Tensor, out: Tensor, input: Tensor, index: Tensor, *, classes: int) -> Tensor:
    return _picked(grad, index)


# Argument checks


def _class_dim(input: Tensor) -> int:
    """Return the negative class dimension. Raises OpError for a 0-d input."""
    require_floating(input)
    if not input.ndim:
        raise OpError(
            "shape_mismatch", "input is 0-d, and has no classes", "Give the shape (C) or (N, C, ...).", "input"
        )
    return -1 if input.ndim == 1 else 1 - input.ndim


def _require_weights(weight: Tensor | None, input: Tensor, dim: int) -> None:
    if weight is not None:
        require_one_dtype(input=input, weight=weight)
        require_shape(weight, (input.shape[dim],), "weight", "as every class has one")


def _require_indices(target: Tensor, input: Tensor, dim: int) -> None:
    if not target.dtype.is_integral:
        raise OpError(
            "dtype",
            f"target has dtype {target.dtype}; class indices are integers",
            'Declare target with dtype "int64", or give probabilities of the shape of input to cross_entropy.',
            "target",
        )
    shape = tuple(size for axis, size in enumerate(input.shape, -input.ndim) if axis != dim)
    require_shape(target, shape, "target", f"as input has shape {list(input.shape)} and one class an element")


def _classes_last(input: Tensor, dim: int) -> Tensor:
    rest = [axis for axis in range(-input.ndim, 0) if axis != dim]
    return permuted(input, (*rest, dim))


# Ops


class _Targets:
    """Class indices, the mask of the ones that are not ignored, and their class weights."""

    def __init__(self, input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, dim: int) -> None:
        _require_indices(target, input, dim)
        classes = input.shape[dim]
        if not classes and target.numel:
            raise OpError("empty_reduction", "input has no classes", "Give at least one class.", "input")
        self.dim = dim
        self.index = _class_index(target, classes=classes, ignore_index=ignore_index)
        self.counts = ne(target, ignore_index)
        each: Tensor | float = 1.0
        if weight is not None:
            each = _picked(expanded(weight, (*target.shape, classes)), self.index)
        self.weight = where(self.counts, as_tensor(each, input.dtype), 0.0)

    def loss(self, log_probabilities: Tensor) -> Tensor:
        """Minus the weighted log-probability of each target."""
        picked = _picked(_classes_last(log_probabilities, self.dim), self.index)
        return where(self.counts, -picked * self.weight, 0.0)  # an ignored -inf times 0 would be NaN

    def reduced(self, loss: Tensor, reduction: str) -> Tensor:
        """The reduced losses; the mean is weighted."""
        return sum(loss) / sum(self.weight) if reduction == "mean" else reduced(loss, reduction)


def _nll_grad_fn(given: Mapping[str, Any], out: Any) -> str:
    return "NllLoss2DBackward0" if given["input"].ndim == 4 else "NllLossBackward0"


_INDEX_SAMPLES = (
    sample(real(3, 4), integers(4, 3)),
    sample(real(4), integers(4)),
    sample(real(3, 4), integers(4, 3), fixed(4, low=0.3, high=2)),
    sample(real(3, 4), integers(4, 3), fixed(4, low=0.3, high=2), ignore_index=1, reduction="sum"),
    sample(real(2, 3, 2), integers(3, 2, 2), reduction="none"),
    sample(real(2, 3, 2, 2), integers(3, 2, 2, 2), ignore_index=0),
    sample(real(0, 3), integers(3, 0), reduction="sum"),
)


@op(grad_fn=_nll_grad_fn, samples=_INDEX_SAMPLES)
def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
) -> Tensor:
    """Minus the log-probability of each target class: input (N, C, ...) or (C), target (N, ...) or ().

    `weight` (C) has the class weights, and the mean is divided by the sum of the targets' weights. Targets equal
    to `ignore_index` are ignored. Source: torch.nn.functional.nll_loss.
    """
    dim = _class_dim(input)
    _require_weights(weight, input, dim)
    targets = _Targets(input, target, weight, ignore_index, dim)
    return targets.reduced(targets.loss(input), reduction)


@op(
    samples=(
        *_INDEX_SAMPLES,
        sample(real(3, 4), integers(4, 3), fixed(4, low=0.3, high=2), ignore_index=1, label_smoothing=0.2),
        sample(real(3, 4), integers(4, 3), label_smoothing=0.2),
        sample(real(3, 4), unit(3, 4)),
        sample(real(4), unit(4), label_smoothing=0.1),
        sample(real(2, 3, 2), unit(2, 3, 2), positive(3), reduction="none", label_smoothing=0.1),
    )
)
def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross entropy of logits (N, C, ...) or (C) with class indices (N, ...) or (), or with probabilities as input.

    `weight` (C) has the class weights; with indices the mean is divided by the sum of the targets' weights, with
    probabilities by their number. `label_smoothing` is the share of the uniform distribution in the targets.
    Targets equal to `ignore_index` are ignored. Source: torch.nn.functional.cross_entropy.
    """
    dim = _class_dim(input)
    _require_weights(weight, input, dim)
    if not 0 <= label_smoothing <= 1:
        raise OpError("range", f"label_smoothing is {label_smoothing}", "Give a number from 0 to 1.", "label_smoothing")
    log_probabilities = log_softmax_along(input, dim)
    if target.shape == input.shape:
        loss = _distribution_loss(log_probabilities, target, weight, ignore_index, label_smoothing, dim)
        return sum(loss) / loss.numel if reduction == "mean" else reduced(loss, reduction)
    targets = _Targets(input, target, weight, ignore_index, dim)
    loss = targets.reduced(targets.loss(log_probabilities), reduction)
    if not label_smoothing:
        return loss
    every = -_class_sum(log_probabilities, weight, dim)
    uniform = targets.reduced(where(targets.counts, every, 0.0), reduction)
    return loss * (1 - label_smoothing) + uniform * (label_smoothing / max(input.shape[dim], 1))


def _distribution_loss(
    log_probabilities: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    label_smoothing: float,
    dim: int,
) -> Tensor:
    require_floating(target, "target")
    if ignore_index >= 0:
        raise OpError(
            "ignore_index",
            f"ignore_index is {ignore_index}, and target has probabilities, none of which is a class to ignore",
            "Leave ignore_index out.",
            "ignore_index",
        )
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / max(target.shape[dim], 1)
    return -_class_sum(log_probabilities * target, weight, dim)


def _class_sum(values: Tensor, weight: Tensor | None, dim: int) -> Tensor:
    """Return the weighted sum over the classes."""
    if weight is not None:
        values = values * reshaped(weight, (weight.numel, *(1,) * (-1 - dim)))
    return summed(values, (dim,))
