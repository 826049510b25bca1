"""Elementwise logistic and error functions."""

from __future__ import annotations

import math

from scipy import special

from engine.graph.graph import Tensor
from engine.graph.op import elementwise
from engine.graph.signs import Sign
from engine.graph.traits import known, least
from engine.ops.elementwise.exponential import exp
from engine.ops.elementwise.power import square
from engine.ops.kernels.precision import in_single, logistic


@elementwise(in_single(logistic), weight=15, spare=3, analytic=False, sign=known(Sign.POSITIVE))
def sigmoid(input: Tensor) -> Tensor:
    """`1 / (1 + exp(-input))`. Source: torch.sigmoid."""


@sigmoid.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return grad * ((1 - out) * out)


@elementwise(in_single(special.erf), weight=40, spare=2, analytic=False, sign=least)
def erf(input: Tensor) -> Tensor:
    """Error function. Source: torch.erf."""


@erf.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return grad * (exp(-square(input)) * (2 / math.sqrt(math.pi)))
