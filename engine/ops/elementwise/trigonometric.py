"""Elementwise trigonometric and hyperbolic functions."""

from __future__ import annotations

import numpy as np

from engine.graph.graph import Tensor
from engine.graph.op import elementwise
from engine.graph.traits import least


@elementwise(np.sin, analytic=True)
def sin(input: Tensor) -> Tensor:
    """Sine of radians. Source: torch.sin."""


@sin.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return grad * cos(input)


@elementwise(np.cos, analytic=True)
def cos(input: Tensor) -> Tensor:
    """Cosine of radians. Source: torch.cos."""


@cos.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return -grad * sin(input)


@elementwise(np.tanh, analytic=True, sign=least)
def tanh(input: Tensor) -> Tensor:
    """Hyperbolic tangent. Source: torch.tanh."""


@tanh.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return (grad + grad * out) * (1 - out)  # no cancellation near |out| = 1
