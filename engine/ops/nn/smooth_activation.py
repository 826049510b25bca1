"""Smooth activation functions, based on the sigmoid or the normal distribution.

No formula overflows or cancels. float16 is computed as float32, as in PyTorch.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from engine.errors import OpError
from engine.graph.graph import Tensor
from engine.graph.op import elementwise, op
from engine.graph.promotion import arithmetic, floating
from engine.graph.samples import real, sample
from engine.graph.signs import Sign
from engine.graph.traits import known, least
from engine.graph.types import wrap_dim
from engine.ops.checks import refuse_inplace, require_floating, require_number
from engine.ops.elementwise.arithmetic import abs, div
from engine.ops.elementwise.exponential import exp
from engine.ops.elementwise.power import square
from engine.ops.elementwise.selection import where
from engine.ops.elementwise.special import sigmoid
from engine.ops.elementwise.trigonometric import tanh
from engine.ops.indexing.slicing import narrowed
from engine.ops.kernels.normal_cdf import normal_cdf
from engine.ops.kernels.precision import in_single, logistic, softplus_of_minus_abs

_WIDE = (sample(real(2, 3, low=-8, high=8)), sample(real()), sample(real(0, 3)))


# Sigmoids


@elementwise(in_single(lambda x: x * logistic(x)), arithmetic, weight=20, spare=2, analytic=False, sign=least)
def _silu(input: Tensor) -> Tensor: ...


@_silu.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    rising = sigmoid(input)
    return grad * (rising * (1 + input * (1 - rising)))


@op(samples=_WIDE)
def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """`input * sigmoid(input)`. Source: torch.nn.functional.silu."""
    refuse_inplace(inplace)
    require_floating(input)
    return _silu(input)


def _run_softplus(x: np.ndarray, *, beta: float, threshold: float) -> np.ndarray:
    scaled = x if beta == 1 else x * beta
    soft = np.maximum(scaled, 0) + softplus_of_minus_abs(scaled)
    return np.where(scaled > threshold, x, soft if beta == 1 else soft / beta)


@elementwise(in_single(_run_softplus), arithmetic, weight=30, spare=4, analytic=False, sign=known(Sign.POSITIVE))
def _softplus(input: Tensor, *, beta: float, threshold: float) -> Tensor: ...


@_softplus.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, beta: float, threshold: float) -> Tensor:
    scaled = input if beta == 1 else input * beta
    return where(scaled > threshold, grad, grad * sigmoid(scaled))


@op(samples=(*_WIDE, sample(real(2, 3), 2.5, 1.0), sample(real(2, 3), -0.5)))
def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """`log(1 + exp(beta * input)) / beta`, and the input itself where `beta * input` is above the threshold.

    Source: torch.nn.functional.softplus.
    """
    require_floating(input)
    if beta == 0:
        raise OpError("range", "beta is 0, and the result is divided by it", "Give another number.", "beta")
    return _softplus(input, beta=beta, threshold=threshold)


@elementwise(
    in_single(lambda x: np.minimum(x, 0) - softplus_of_minus_abs(x)), arithmetic, weight=30, spare=2, analytic=False
)
def _logsigmoid(input: Tensor) -> Tensor: ...


@_logsigmoid.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return grad * sigmoid(-input)


@op(grad_fn="LogSigmoidBackward0", samples=_WIDE)
def logsigmoid(input: Tensor) -> Tensor:
    """`log(sigmoid(input))`. Source: torch.nn.functional.logsigmoid."""
    require_floating(input)
    return _logsigmoid(input)


@op(samples=_WIDE)
def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """`input * tanh(softplus(input))`. Source: Misra 2019; torch.nn.functional.mish."""
    refuse_inplace(inplace)
    require_floating(input)
    return input * tanh(_softplus(input, beta=1.0, threshold=20.0))


@op(samples=(sample(real(2, 4)), sample(real(4, 3), 0), sample(real(0, 2))))
def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half along `dim` times the sigmoid of the second. Source: torch.nn.functional.glu."""
    require_floating(input)
    if not input.ndim:
        raise OpError("shape_mismatch", "input is 0-d, and has no halves", "Give it a dimension.", "input")
    axis = wrap_dim(dim, input.ndim)
    size = input.shape[axis]
    if size % 2:
        raise OpError(
            "shape_mismatch",
            f"input of shape {list(input.shape)} has size {size} at dim {dim}; halving needs an even one",
            "Give that dimension an even size.",
            "input",
        )
    half = size // 2
    return narrowed(input, axis, 0, half) * sigmoid(narrowed(input, axis, half, half))


# Quotients


@op(samples=_WIDE)
def softsign(input: Tensor) -> Tensor:
    """`input / (1 + abs(input))`. Source: torch.nn.functional.softsign."""
    require_number(input)
    return div(input, abs(input) + 1)


@op(samples=_WIDE)
def tanhshrink(input: Tensor) -> Tensor:
    """`input - tanh(input)`. Source: torch.nn.functional.tanhshrink."""
    require_number(input)
    return input - tanh(input)


# The normal distribution


@elementwise(in_single(normal_cdf), floating, weight=40, spare=16, analytic=False, sign=known(Sign.POSITIVE))
def _normal_cdf(input: Tensor) -> Tensor: ...


@_normal_cdf.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return grad * (exp(square(input) * -0.5) * (1 / math.sqrt(2 * math.pi)))


_TANH_LINEAR = 2 * math.sqrt(2 / math.pi)
_TANH_CUBIC = _TANH_LINEAR * 0.044715


def _run_tanh_gelu(x: np.ndarray) -> np.ndarray:
    return x * logistic(x * (x * x * _TANH_CUBIC + _TANH_LINEAR))  # (1 + tanh(u)) / 2 = sigmoid(2 u)


@elementwise(in_single(_run_tanh_gelu), arithmetic, weight=30, spare=2, analytic=False, sign=least)
def _tanh_gelu(input: Tensor) -> Tensor: ...


@_tanh_gelu.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    squared = square(input)
    rising = sigmoid(input * (squared * _TANH_CUBIC + _TANH_LINEAR))
    slope = input * (squared * (3 * _TANH_CUBIC) + _TANH_LINEAR)
    return grad * (rising * (1 + (1 - rising) * slope))


@op(samples=(*_WIDE, sample(real(2, 3, low=-5, high=5), approximate="tanh")))
def gelu(input: Tensor, *, approximate: Literal["none", "tanh"] = "none") -> Tensor:
    """`input` times the normal distribution's function of it, or an approximation of that by tanh.

    Source: Hendrycks and Gimpel 2016; torch.nn.functional.gelu.
    """
    require_floating(input)
    return input * _normal_cdf(input) if approximate == "none" else _tanh_gelu(input)
