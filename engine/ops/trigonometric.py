"""Circular and hyperbolic functions, element by element."""

from __future__ import annotations

import numpy as np

from engine.graph import Tensor
from engine.op import elementwise


@elementwise(np.sin)
def sin(input: Tensor) -> Tensor:
    """Sine of radians. Source: torch.sin."""


@sin.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return grad * cos(input)


@elementwise(np.cos)
def cos(input: Tensor) -> Tensor:
    """Cosine of radians. Source: torch.cos."""


@cos.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return -grad * sin(input)


@elementwise(np.tanh)
def tanh(input: Tensor) -> Tensor:
    """Hyperbolic tangent. Source: torch.tanh."""


@tanh.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return (grad + grad * out) * (1 - out)  # no cancellation near |out| = 1
