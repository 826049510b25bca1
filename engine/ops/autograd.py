"""Ops that control differentiation: `detach`, and the internal `detached` and `marked`."""

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
    """A copy of the tensor that is never merged with an equal one.

    A derivative's variables need this: of two equal tensors `y1 = exp(x)` and `y2 = exp(x)`, the gradients differ.
    """
    made: Tensor = _marked(input, name=name)
    return made


@op(samples=(sample(real(2, 3)),))
def detach(input: Tensor) -> Tensor:
    """The same values; no gradient flows back through it. Source: torch.Tensor.detach."""
    return _detach(input)
