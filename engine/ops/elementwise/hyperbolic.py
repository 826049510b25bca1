"""Elementwise inverse hyperbolic functions."""

from __future__ import annotations

import numpy as np

from engine.graph.graph import Tensor
from engine.graph.op import elementwise
from engine.graph.traits import least
from engine.ops.elementwise.power import rsqrt, square


@elementwise(np.arcsinh, analytic=True, sign=least)
def asinh(input: Tensor) -> Tensor:
    """Inverse of the hyperbolic sine. Source: torch.asinh."""


@asinh.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return grad * rsqrt(square(input) + 1)
