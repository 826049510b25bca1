"""Ops about differentiation itself."""

from __future__ import annotations

import numpy as np

from engine.graph import Tensor, Type
from engine.op import op, primitive
from engine.samples import real, sample


@primitive(differentiable=False, view=True)
def _detach(input: Tensor) -> Type:
    return Type(input.dtype, input.shape)


@_detach.kernel
def _(input: np.ndarray) -> np.ndarray:
    return input


def detached(input: Tensor) -> Tensor:
    """The tensor as a constant for differentiation."""
    return _detach(input) if input.requires_grad else input


@op(samples=(sample(real(2, 3)),))
def detach(input: Tensor) -> Tensor:
    """The same values; no gradient flows back through it. Source: torch.Tensor.detach."""
    return _detach(input)
