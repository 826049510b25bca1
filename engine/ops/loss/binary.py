"""Binary cross entropy of probabilities and of logits, with targets between 0 and 1."""

from __future__ import annotations

import numpy as np

from engine.errors import OpError
from engine.graph.graph import Tensor, Type
from engine.graph.op import elementwise, op
from engine.graph.primitive import primitive
from engine.graph.promotion import arithmetic
from engine.graph.samples import fixed, positive, real, sample, unit
from engine.graph.traits import arrays, per_input
from engine.ops.checks import require_floating, require_one_dtype
from engine.ops.elementwise.exponential import log, log1p
from engine.ops.elementwise.selection import clamp
from engine.ops.elementwise.special import sigmoid
from engine.ops.kernels.precision import in_single, softplus_of_minus_abs, step
from engine.ops.loss.regression import Reduction, reduced, require_same_shape, weighted
from engine.ops.nn.smooth_activation import logsigmoid


@primitive(view=True, cost=per_input(4), memory=arrays(2), trailing=0)
def _probabilities(input: Tensor, *, argument: str) -> Type:
    """The input. The kernel raises OpError if a value is outside [0, 1]."""
    return Type(input.dtype, input.shape)


@_probabilities.kernel
def _(input: np.ndarray, *, argument: str) -> np.ndarray:
    inside = (input >= 0) & (input <= 1)
    if not inside.all():
        wrong = np.asarray(input)[~np.asarray(inside)][0]
        raise OpError(
            "value_out_of_range",
            f"{argument} must be in [0, 1], and has the value {wrong}",
            "Apply sigmoid first, or use binary_cross_entropy_with_logits, which does.",
        )
    return input


@_probabilities.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, argument: str) -> Tensor:
    return grad


_LEAST_LOG = -100
_LEAST_VARIANCE = float(np.float32(1e-12))  # PyTorch's constant, single precision in every dtype


def _run_binary_cross_entropy(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (y - 1) * np.maximum(np.log1p(-p), _LEAST_LOG) - y * np.maximum(np.log(p), _LEAST_LOG)


@elementwise(in_single(_run_binary_cross_entropy), arithmetic, weight=30, spare=2, analytic=False)
def _binary_cross_entropy(input: Tensor, target: Tensor) -> Tensor: ...


@_binary_cross_entropy.vjp("input")
def _(grad: Tensor, out: Tensor, input: Tensor, target: Tensor) -> Tensor:
    return grad * ((input - target) / clamp((1 - input) * input, min=_LEAST_VARIANCE))


@_binary_cross_entropy.vjp("target")
def _(grad: Tensor, out: Tensor, input: Tensor, target: Tensor) -> Tensor:
    return grad * (log1p(-input) - log(input))


@op(
    samples=(
        sample(unit(2, 3), unit(2, 3)),
        sample(unit(2, 3), unit(2, 3), positive(3), reduction="sum"),
        sample(unit(), unit(), reduction="none"),
    )
)
def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: Reduction = "mean"
) -> Tensor:
    """`-(target * log(input) + (1 - target) * log(1 - input))` of probabilities, each logarithm at least -100.

    Raises OpError if a value is outside [0, 1]. Source: torch.nn.functional.binary_cross_entropy.
    """
    require_floating(input)
    require_one_dtype(input=input, target=target)
    require_same_shape(input, target)
    loss = _binary_cross_entropy(_probabilities(input, argument="input"), _probabilities(target, argument="target"))
    return reduced(weighted(loss, weight), reduction)


def _run_logit_loss(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    linear = step(x, 0.0) - y
    linear *= x
    linear += softplus_of_minus_abs(x)
    return linear


@elementwise(in_single(_run_logit_loss), arithmetic, weight=30, spare=2, analytic=False)
def _logit_loss(input: Tensor, target: Tensor) -> Tensor:
    """`-target * log(sigmoid(input)) - (1 - target) * log(sigmoid(-input))`, exact for small and large logits."""


@_logit_loss.vjp("input")
def _(grad: Tensor, out: Tensor, input: Tensor, target: Tensor) -> Tensor:
    return grad * _logit_residual(input, target)


@_logit_loss.vjp("target")
def _(grad: Tensor, out: Tensor, input: Tensor, target: Tensor) -> Tensor:
    return -grad * input


def _run_logit_residual(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    tail = np.exp(np.absolute(x))
    tail += 1
    tail = np.copysign(np.reciprocal(tail), x + 0.0)  # -0.0 becomes 0.0, which is on the side of x >= 0
    residual = step(x, 1.0) - y
    residual -= tail
    return residual


@elementwise(in_single(_run_logit_residual), arithmetic, weight=20, spare=4, analytic=False)
def _logit_residual(input: Tensor, target: Tensor) -> Tensor:
    """`sigmoid(input) - target` without cancellation."""


@_logit_residual.vjp("input")
def _(grad: Tensor, out: Tensor, input: Tensor, target: Tensor) -> Tensor:
    return grad * (sigmoid(input) * sigmoid(-input))


@_logit_residual.vjp("target")
def _(grad: Tensor, out: Tensor, input: Tensor, target: Tensor) -> Tensor:
    return -grad


@op(
    samples=(
        sample(real(3), fixed(3, low=0, high=1)),
        sample(real(2, 3, low=-30, high=30), unit(2, 3), positive(3), reduction="sum"),
        sample(real(2, 3), unit(2, 3), pos_weight=positive(3)),
        sample(real(), unit(), reduction="none"),
        sample(real(0, 3), unit(0, 3), reduction="sum"),
    )
)
def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    reduction: Reduction = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """`binary_cross_entropy(sigmoid(input), target)`, but accurate; `pos_weight` multiplies the target's term.

    Source: torch.nn.functional.binary_cross_entropy_with_logits.
    """
    require_floating(input)
    require_floating(target, "target")
    require_same_shape(input, target)
    if pos_weight is None:
        loss = _logit_loss(input, target)
    else:
        positive = weighted(target * -logsigmoid(input), pos_weight, "pos_weight")
        loss = (1 - target) * -logsigmoid(-input) + positive
    return reduced(weighted(loss, weight), reduction)
