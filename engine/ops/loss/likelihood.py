"""Negative log-likelihoods of counts and of measurements."""

from __future__ import annotations

import math

import numpy as np

from engine.errors import OpError
from engine.graph.graph import Tensor, Type
from engine.graph.op import op
from engine.graph.primitive import primitive
from engine.graph.samples import positive, real, sample
from engine.graph.traits import arrays, per_input
from engine.ops.checks import require_floating
from engine.ops.elementwise.exponential import exp, log
from engine.ops.elementwise.power import square
from engine.ops.elementwise.selection import where
from engine.ops.loss.regression import Reduction, notice_broadcast, reduced
from engine.ops.nn.similarity import raised
from engine.ops.shape.movement import reshaped


@op(
    samples=(
        sample(real(2, 3), positive(2, 3)),
        sample(positive(2, 3), positive(3), log_input=False, full=True, reduction="sum"),
        sample(real(), positive(), reduction="none"),
    )
)
def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    *,
    eps: float = 1e-8,
    reduction: Reduction = "mean",
) -> Tensor:
    """`exp(input) - target * input`, or without `log_input` `input - target * log(input + eps)`.

    With `full` Stirling's approximation of log(target!) is added where the target is above 1. Source:
    torch.nn.functional.poisson_nll_loss.
    """
    notice_broadcast(input, target)
    loss = exp(input) - target * input if log_input else input - target * log(input + eps)
    if full:
        stirling = target * log(target) - target + 0.5 * log(2 * math.pi * target)
        loss = loss + where(target <= 1, 0.0, stirling)
    return reduced(loss, reduction)


@primitive(view=True, cost=per_input(2), memory=arrays(1), trailing=0)
def _variances(input: Tensor) -> Type:
    """The input. The kernel raises OpError if a value is negative."""
    return Type(input.dtype, input.shape)


@_variances.kernel
def _(input: np.ndarray) -> np.ndarray:
    if (input < 0).any():
        raise OpError("value_out_of_range", "var has a negative value", "Variances are 0 or more.")
    return input


@_variances.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return grad


@op(
    samples=(
        sample(real(2, 3), real(2, 3), positive(2, 3)),
        sample(real(2, 3), real(3), positive(2), full=True, reduction="sum"),
        sample(real(2, 3), real(2, 3), positive(2, 1), reduction="none"),
        sample(real(2, 3), real(2, 3), 0.5),
    )
)
def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    """`(log(var) + (input - target)**2 / var) / 2` with variances `var`, raised to at least `eps`.

    The bound does not change the gradient of `var`. With `full` the constant log(2 pi) / 2 is added. Source: Nix and
    Weigend 1994; torch.nn.functional.gaussian_nll_loss.
    """
    if isinstance(var, Tensor):
        require_floating(var, "var")
        error = square(input - target)
        spread = raised(_variances(_aligned_variances(var, input)), eps)
        loss = (log(spread) + error / spread) * 0.5
    else:
        if var < 0:
            raise OpError("range", f"var is {var}, below 0", "Variances are 0 or more.", "var")
        spread_known = max(var, eps)
        with np.errstate(all="ignore"):
            log_spread = float(np.log(np.float64(spread_known)))  # math.log refuses 0
        loss = (square(input - target) / spread_known + log_spread) * 0.5
    return reduced(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)


def _aligned_variances(var: Tensor, input: Tensor) -> Tensor:
    """Return variances that broadcast to the input; `var` may lack the last dimension or have size 1 in one."""
    if var.shape == input.shape:
        return var
    if var.shape == input.shape[:-1]:
        return reshaped(var, (*var.shape, 1))
    if var.ndim == input.ndim and [v for v, size in zip(var.shape, input.shape, strict=True) if v != size] == [1]:
        return var
    raise OpError(
        "shape_mismatch",
        f"var has shape {list(var.shape)}, and input {list(input.shape)}",
        f"Give var the shape of input, or size 1 in one dimension of it, or {list(input.shape[:-1])}.",
        "var",
    )
