"""Ops about differentiation itself."""

from __future__ import annotations

import numpy as np

from engine.graph.graph import Tensor, Type
from engine.graph.op import op
from engine.graph.primitive import linear, primitive
from engine.graph.samples import real, sample


@primitive(differentiable=False, view=True, pointwise=True)
def _detach(input: Tensor) -> Type:
    return Type(input.dtype, input.shape)


@_detach.kernel
def _(input: np.ndarray) -> np.ndarray:
    return input


def detached(input: Tensor) -> Tensor:
    """The tensor as a constant for differentiation."""
    return _detach(input) if input.dtype.is_differentiable else input


@linear(view=True, pointwise=True)
def _marked(input: Tensor, *, name: str) -> Type:
    return Type(input.dtype, input.shape)


@_marked.kernel
def _(input: np.ndarray, *, name: str) -> np.ndarray:
    return input


@_marked.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, name: str) -> Tensor:
    return grad


def marked(input: Tensor, name: str) -> Tensor:
    """The tensor as one of its own, which no other with the same values is merged with.

    What is differentiated by must be: the gradient of `y1 = exp(x)` is not that of `y2 = exp(x)`.
    """
    made: Tensor = _marked(input, name=name)
    return made


@op(samples=(sample(real(2, 3)),))
def detach(input: Tensor) -> Tensor:
    """The same values; no gradient flows back through it. Source: torch.Tensor.detach."""
    return _detach(input)
