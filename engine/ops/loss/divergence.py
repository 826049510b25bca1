"""The Kullback-Leibler divergence."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import special

from engine.graph.graph import Tensor
from engine.graph.op import elementwise, op
from engine.graph.promotion import arithmetic
from engine.graph.samples import real, sample, unit
from engine.graph.signs import Singular
from engine.ops.checks import require_floating
from engine.ops.elementwise.exponential import exp, log
from engine.ops.kernels.precision import in_single
from engine.ops.loss.regression import notice_broadcast, reduced
from engine.ops.reduction.sums import sum


def _run_x_log_x(x: np.ndarray) -> np.ndarray:
    return np.asarray(special.xlogy(x, x))


@elementwise(in_single(_run_x_log_x), arithmetic, weight=20, spare=2, analytic=False, singular=Singular())
def _x_log_x(input: Tensor) -> Tensor: ...


@_x_log_x.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return grad * (log(input) + input / input)  # NaN at 0, as in PyTorch


@op(
    samples=(
        sample(real(2, 3), unit(2, 3), reduction="batchmean"),
        sample(real(2, 3), unit(3)),
        sample(real(2, 3), real(2, 3), reduction="none", log_target=True),
        sample(real(), unit(), reduction="sum"),
    )
)
def kl_div(
    input: Tensor,
    target: Tensor,
    *,
    reduction: Literal["none", "batchmean", "mean", "sum"] = "mean",
    log_target: bool = False,
) -> Tensor:
    """`target * (log(target) - input)`: the divergence of probabilities from log-probabilities.

    With `log_target` the target has log-probabilities too. "batchmean" divides the sum by the first size, as in the
    definition of the divergence; "mean" divides by the number of elements. Source: Kullback and Leibler 1951;
    torch.nn.functional.kl_div.
    """
    require_floating(input)
    require_floating(target, "target")
    notice_broadcast(input, target)
    loss = exp(target) * (target - input) if log_target else _x_log_x(target) - target * input
    if reduction != "batchmean":
        return reduced(loss, reduction)
    return sum(loss) / input.shape[0] if input.ndim else sum(loss)
