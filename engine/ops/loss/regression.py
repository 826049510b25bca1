"""Regression losses, and the reductions and weights that the other modules of `engine.ops.loss` use."""

from __future__ import annotations

from typing import Literal

import numpy as np

from engine.errors import OpError
from engine.graph.graph import Tensor, builder
from engine.graph.op import elementwise, op
from engine.graph.promotion import arithmetic, promoted
from engine.graph.samples import fixed, positive, real, sample
from engine.graph.signs import Sign
from engine.graph.traits import known
from engine.ops.checks import require_floating, require_shape
from engine.ops.elementwise.arithmetic import abs
from engine.ops.elementwise.power import square
from engine.ops.nn.piecewise_activation import hardtanh
from engine.ops.reduction.sums import mean, sum

Reduction = Literal["none", "mean", "sum"]


def reduced(loss: Tensor, reduction: str) -> Tensor:
    """The losses, their mean or their sum, as `reduction` selects."""
    if reduction == "none":
        return loss
    return mean(loss) if reduction == "mean" else sum(loss)


def weighted(loss: Tensor, weight: Tensor | None, argument: str = "weight") -> Tensor:
    """The losses times a weight that broadcasts to them."""
    if weight is None:
        return loss
    product = loss * weight
    if product.shape != loss.shape:
        raise OpError(
            "shape_mismatch",
            f"{argument} has shape {list(weight.shape)}, and does not broadcast to the losses' {list(loss.shape)}",
            f"Give {argument} the losses' shape, or fewer or smaller dimensions.",
            argument,
        )
    return product


def require_same_shape(input: Tensor, target: Tensor) -> None:
    """Raise OpError unless the target has the input's shape."""
    require_shape(target, input.shape, "target", "as input's shape is that")


def notice_broadcast(input: Tensor, target: Tensor) -> None:
    """Warn if input and target have different shapes: [n, 1] and [n] broadcast to [n, n], which is rarely intended."""
    if input.shape != target.shape:
        builder().notice(
            f"input has shape {list(input.shape)} and target {list(target.shape)}: they broadcast. Give "
            f"both the same shape, with reshape, squeeze or expand_as."
        )


def _difference(input: Tensor, target: Tensor) -> Tensor:
    notice_broadcast(input, target)
    if not promoted((input, target)).is_differentiable:
        require_floating(input)
    return input - target


def _require_weight_of_input(weight: Tensor | None, input: Tensor) -> None:
    if weight is not None:
        require_shape(weight, input.shape, "weight", "as every element of input has one")


def _weighted_mean(loss: Tensor, input: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    """Reduce losses; with weights of the input's shape the mean is divided by their sum."""
    _require_weight_of_input(weight, input)
    if weight is None:
        return reduced(loss, reduction)
    if reduction == "mean":
        return sum(loss * weight) / sum(weight)
    return reduced(loss * weight, reduction)


_PAIRS = (
    sample(real(2, 3), fixed(2, 3)),
    sample(real(2, 3), real(3), reduction="none"),
    sample(real(), real(), reduction="sum"),
    sample(real(0, 3), real(0, 3), reduction="sum"),
)
_WEIGHTED_PAIRS = (*_PAIRS, sample(real(2, 3), real(2, 3), weight=positive(2, 3)))


@op(samples=_WEIGHTED_PAIRS)
def mse_loss(input: Tensor, target: Tensor, *, reduction: Reduction = "mean", weight: Tensor | None = None) -> Tensor:
    """`(input - target)**2`; a weighted mean is divided by the sum of the weights.

    Source: torch.nn.functional.mse_loss.
    """
    return _weighted_mean(square(_difference(input, target)), input, weight, reduction)


@op(samples=_WEIGHTED_PAIRS)
def l1_loss(input: Tensor, target: Tensor, *, reduction: Reduction = "mean", weight: Tensor | None = None) -> Tensor:
    """`abs(input - target)`; a weighted mean is divided by the sum of the weights.

    Source: torch.nn.functional.l1_loss.
    """
    return _weighted_mean(abs(_difference(input, target)), input, weight, reduction)


def _run_huber(x: np.ndarray, *, delta: float) -> np.ndarray:
    size = np.absolute(x)
    near = np.minimum(size, delta)
    return near * (size - near * 0.5)


@elementwise(_run_huber, arithmetic, weight=8, spare=4, analytic=False, sign=known(Sign.NOT_NEGATIVE))
def _huber(input: Tensor, *, delta: float) -> Tensor:
    """`input**2 / 2` where `abs(input)` is below `delta`, `delta * (abs(input) - delta / 2)` elsewhere."""


@_huber.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, delta: float) -> Tensor:
    return grad * hardtanh(input, -delta, delta)


@op(samples=(*_PAIRS, sample(real(2, 3), real(2, 3), beta=0.3), sample(real(2, 3), real(2, 3), beta=0.0)))
def smooth_l1_loss(input: Tensor, target: Tensor, *, reduction: Reduction = "mean", beta: float = 1.0) -> Tensor:
    """Quadratic within `beta` of the target, linear with slope 1 outside: `huber_loss / beta`.

    Source: Girshick 2015, "Fast R-CNN"; torch.nn.functional.smooth_l1_loss.
    """
    if beta < 0:
        raise OpError("range", f"beta is {beta}, below 0", "Give a number of 0 or more.", "beta")
    error = _difference(input, target)
    return reduced(_huber(error, delta=beta) / beta if beta else abs(error), reduction)


@op(samples=(*_WEIGHTED_PAIRS, sample(real(2, 3), real(2, 3), delta=0.3)))
def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: Reduction = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """Quadratic within `delta` of the target, linear with slope `delta` outside.

    Source: Huber 1964; torch.nn.functional.huber_loss.
    """
    _require_weight_of_input(weight, input)
    if delta <= 0:
        raise OpError("range", f"delta is {delta}, not above 0", "Give a number above 0.", "delta")
    return reduced(weighted(_huber(_difference(input, target), delta=delta), weight), reduction)
