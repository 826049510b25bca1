"""Elementwise exponentials and logarithms."""

from __future__ import annotations

import numpy as np

from engine.graph.graph import Tensor
from engine.graph.op import elementwise
from engine.graph.samples import positive, sample
from engine.graph.signs import Sign, Singular
from engine.graph.traits import known, least

_POSITIVE = (sample(positive(2, 3)), sample(positive()), sample(positive(0, 3)))


@elementwise(np.exp, analytic=True, sign=known(Sign.POSITIVE))
def exp(input: Tensor) -> Tensor:
    """e to the power of the input. Source: torch.exp."""


@exp.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return grad * out


@elementwise(np.expm1, analytic=True, sign=least)
def expm1(input: Tensor) -> Tensor:
    """`exp(input) - 1`, accurate near 0. Source: torch.expm1."""


@expm1.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return grad * (out + 1)


@elementwise(np.log, samples=_POSITIVE, analytic=True, singular=Singular())
def log(input: Tensor) -> Tensor:
    """Natural logarithm. Source: torch.log."""


@log.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return grad / input


@elementwise(np.log1p, samples=_POSITIVE, analytic=True, singular=Singular(safe=Sign.NOT_NEGATIVE), sign=least)
def log1p(input: Tensor) -> Tensor:
    """`log(1 + input)`, accurate near 0. Source: torch.log1p."""


@log1p.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return grad / (input + 1)
