"""Activation functions of linear pieces (relu and its family) and of exponential pieces (elu and its family).

Derivatives at the kinks equal PyTorch's. Smooth activation functions are in `smooth_activation`.
"""

from __future__ import annotations

import math

import numpy as np

from engine.errors import OpError
from engine.graph.graph import Tensor
from engine.graph.kernel import Writing
from engine.graph.op import elementwise, op
from engine.graph.promotion import arithmetic
from engine.graph.samples import real, sample
from engine.graph.signs import Sign
from engine.graph.traits import known, least
from engine.graph.types import Number
from engine.ops.checks import refuse_inplace, require_floating, require_number, require_one_dtype
from engine.ops.elementwise.comparison import logical_and, logical_or
from engine.ops.elementwise.exponential import exp
from engine.ops.elementwise.selection import clamp, where
from engine.ops.shape.movement import reshaped

_ANY = (sample(real(2, 3)), sample(real()), sample(real(0, 3)))

_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


def _run_relu(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    found: np.ndarray = np.maximum(x, 0, out=out)
    return found


@elementwise(Writing(_run_relu), arithmetic, weight=1, spare=2, analytic=False, sign=known(Sign.NOT_NEGATIVE))
def _relu(input: Tensor) -> Tensor: ...


@_relu.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return where(out <= 0, 0.0, grad)


@op(samples=_ANY)
def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """`max(input, 0)`; its derivative at 0 is 0. Source: torch.nn.functional.relu."""
    refuse_inplace(inplace)
    require_number(input)
    return _relu(input)


def _run_leaky(x: np.ndarray, *, slope: float) -> np.ndarray:
    if 0 < slope <= 1:
        return np.maximum(x, x * slope)  # twice as fast as a selection
    return np.where(x > 0, x, x * slope)


@elementwise(_run_leaky, arithmetic, weight=4, spare=2, analytic=False, sign=least)
def _leaky_relu(input: Tensor, *, slope: float) -> Tensor: ...


@_leaky_relu.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, slope: float) -> Tensor:
    return where(input > 0, grad, grad * slope)


@op(samples=(*_ANY, sample(real(2, 3), 1.5), sample(real(2, 3), negative_slope=-0.2)))
def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """`input` where it is positive, `negative_slope * input` elsewhere. Source: torch.nn.functional.leaky_relu."""
    refuse_inplace(inplace)
    require_floating(input)
    return _leaky_relu(input, slope=negative_slope)


@op(
    grad_fn="PreluKernelBackward0",
    samples=(sample(real(2, 3, 2), real(3)), sample(real(4), real(1)), sample(real(2, 3), real())),
)
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """`input` where it is positive, `weight * input` elsewhere, with one weight or one for each channel (dimension 1).

    Source: torch.nn.functional.prelu.
    """
    require_floating(input)
    require_one_dtype(input=input, weight=weight)
    channels = input.shape[1] if input.ndim > 1 else 1
    if weight.ndim > 1 or weight.numel not in (1, channels):
        raise OpError(
            "shape_mismatch",
            f"weight has shape {list(weight.shape)}; input of shape {list(input.shape)} has {channels} channels",
            f"Give weight one element, or {channels}.",
            "weight",
        )
    slope = reshaped(weight, (weight.numel, *(1,) * max(input.ndim - 2, 0)) if weight.numel != 1 else ())
    positive = input > 0
    return where(positive, input, slope * where(positive, 0.0, input))


@op(samples=(sample(real(2, 3), 0.1, -1.0), sample(real(), 0.1, 20.0), sample(real(0, 3), 0, 0)))
def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """`input` where it is above the threshold, `value` elsewhere. Source: torch.nn.functional.threshold."""
    refuse_inplace(inplace)
    require_number(input)
    if input.dtype.is_integral:
        return where(input > _whole(threshold), input, _whole(value))
    return where(input <= threshold, value, input)


@elementwise(lambda x, low, high: np.minimum(np.maximum(x, low), high), arithmetic, weight=2, spare=2, analytic=False)
def _hardtanh(input: Tensor, low: Number, high: Number) -> Tensor: ...


@_hardtanh.vjp("input")
def _(grad: Tensor, out: Tensor, input: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return where(logical_or(input <= low, input >= high), 0.0, grad)


_SIXTH = float(np.float32(1 / 6))  # PyTorch's slope of hardsigmoid, single precision in every dtype


def _whole(value: float) -> int:
    """Return an argument for integer elements, rounded towards 0. Raises OpError if it is not finite."""
    if not math.isfinite(value):
        raise OpError("range", f"{value} is no integer, and input has integers", "Give a finite number.")
    return int(value)


def _bounded(input: Tensor, low: float, high: float) -> Tensor:
    require_number(input)
    if input.dtype.is_integral:
        return _hardtanh(input, _whole(low), _whole(high))
    return _hardtanh(input, low, high)


@op(samples=(*_ANY, sample(real(2, 3), -0.5, 1.5)))
def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """The input, at least `min_val` and at most `max_val`; its derivative at both is 0.

    Source: torch.nn.functional.hardtanh.
    """
    refuse_inplace(inplace)
    if min_val > max_val:
        raise OpError("bounds", f"min_val {min_val} is over max_val {max_val}", "Exchange them.", "min_val")
    return _bounded(input, min_val, max_val)


@op(grad_fn="HardtanhBackward0", samples=(sample(real(2, 3, low=-8, high=8)), *_ANY))
def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """`min(max(input, 0), 6)`; its derivative at 0 and 6 is 0. Source: torch.nn.functional.relu6."""
    refuse_inplace(inplace)
    return _bounded(input, 0, 6)


@elementwise(
    lambda x: np.minimum(np.maximum(x + 3, 0), 6) / 6,
    arithmetic,
    weight=8,
    spare=2,
    analytic=False,
    sign=known(Sign.NOT_NEGATIVE),
)
def _hardsigmoid(input: Tensor) -> Tensor: ...


@_hardsigmoid.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return where(logical_and(input > -3, input < 3), grad * _SIXTH, 0.0)


@op(samples=(sample(real(2, 3, low=-5, high=5)), *_ANY))
def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """`clamp(input / 6 + 1 / 2, 0, 1)`; its derivative at -3 and 3 is 0. Source: torch.nn.functional.hardsigmoid."""
    refuse_inplace(inplace)
    require_floating(input)
    return _hardsigmoid(input)


@elementwise(
    lambda x: x * np.minimum(np.maximum(x + 3, 0), 6) / 6, arithmetic, weight=9, spare=2, analytic=False, sign=least
)
def _hardswish(input: Tensor) -> Tensor: ...


@_hardswish.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    rising = where(input <= -3, 0.0, input / 3 + 0.5)
    return grad * where(input >= 3, 1.0, rising)


@op(samples=(sample(real(2, 3, low=-5, high=5)), *_ANY))
def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """`input * relu6(input + 3) / 6`; its derivative is 0 at -3 and 1 at 3. Source: torch.nn.functional.hardswish."""
    refuse_inplace(inplace)
    require_floating(input)
    return _hardswish(input)


@op(samples=_ANY)
def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """The input, 0 in [-lambd, lambd]. Source: torch.nn.functional.hardshrink."""
    require_floating(input)
    return where(logical_and(input >= -lambd, input <= lambd), 0.0, input)


@op(samples=_ANY)
def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """The input moved towards 0 by `lambd`, 0 in [-lambd, lambd]. Source: torch.nn.functional.softshrink."""
    require_floating(input)
    if lambd < 0:
        raise OpError("range", f"lambd is {lambd}, below 0", "Give a number of 0 or more.", "lambd")
    return where(logical_and(input >= -lambd, input <= lambd), 0.0, input - clamp(input, -lambd, lambd))


def _run_elu(x: np.ndarray, *, alpha: float, scale: float, rate: float, slope_rate: float) -> np.ndarray:
    negative = np.expm1(np.minimum(x, 0) * rate) * (alpha * scale)
    return np.maximum(x, 0) * scale + negative  # one of the two is 0; a selection takes twice as long


@elementwise(_run_elu, arithmetic, weight=20, spare=2, analytic=False, sign=least)
def _elu(input: Tensor, *, alpha: float, scale: float, rate: float, slope_rate: float) -> Tensor:
    """`scale * input` where it is positive, `scale * alpha * (exp(rate * input) - 1)` elsewhere."""


@_elu.vjp
def _(
    grad: Tensor, out: Tensor, input: Tensor, *, alpha: float, scale: float, rate: float, slope_rate: float
) -> Tensor:
    negative = -_relu(-input)  # positive elements would overflow in exp
    return grad * where(input <= 0, exp(negative * slope_rate) * (alpha * scale * slope_rate), scale)


@op(samples=(*_ANY, sample(real(2, 3), 1.5)))
def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """`input` where it is positive, `alpha * (exp(input) - 1)` elsewhere. Source: torch.nn.functional.elu."""
    refuse_inplace(inplace)
    require_floating(input)
    return _elu(input, alpha=alpha, scale=1.0, rate=1.0, slope_rate=1.0)


@op(grad_fn="EluBackward0", samples=_ANY)
def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """`elu` scaled so that means and variances are kept from layer to layer.

    Source: Klambauer et al. 2017, "Self-normalizing neural networks"; torch.nn.functional.selu.
    """
    refuse_inplace(inplace)
    require_floating(input)
    return _elu(input, alpha=_SELU_ALPHA, scale=_SELU_SCALE, rate=1.0, slope_rate=1.0)


@op(samples=(*_ANY, sample(real(2, 3), 1.5)))
def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """`max(0, input) + min(0, alpha * (exp(input / alpha) - 1))`. Source: torch.nn.functional.celu."""
    refuse_inplace(inplace)
    require_floating(input)
    if alpha == 0:
        raise OpError("range", "alpha is 0, and input is divided by it", "Give another number.", "alpha")
    with np.errstate(all="ignore"):
        slope_rate = 1 / np.float64(np.float32(alpha))  # PyTorch rounds alpha to single precision there, in every dtype
    return _elu(input, alpha=alpha, scale=1.0, rate=1 / alpha, slope_rate=float(slope_rate))
