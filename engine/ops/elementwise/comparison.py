"""Elementwise comparisons and logical ops. None has a gradient."""

from __future__ import annotations

import numpy as np

from engine.graph.graph import Tensor
from engine.graph.op import elementwise
from engine.graph.promotion import comparison, logical
from engine.graph.samples import boolean, real, sample
from engine.ops.elementwise.arithmetic import Operand

_ORDERED = (sample(real(2, 3), real(2, 3)), sample(real(2, 1), real(3)), sample(real(3), 0.5))
_TRUTH = (sample(boolean(2, 3), boolean(2, 3)), sample(real(2, 1), boolean(3)))


@elementwise(np.equal, comparison, differentiable=False, samples=_ORDERED)
def eq(input: Operand, other: Operand) -> Tensor:
    """Whether the elements are equal. Source: torch.eq."""


@elementwise(np.not_equal, comparison, differentiable=False, samples=_ORDERED)
def ne(input: Operand, other: Operand) -> Tensor:
    """Whether the elements differ. Source: torch.ne."""


@elementwise(np.less, comparison, differentiable=False, samples=_ORDERED)
def lt(input: Operand, other: Operand) -> Tensor:
    """Whether the input is less. Source: torch.lt."""


@elementwise(np.less_equal, comparison, differentiable=False, samples=_ORDERED)
def le(input: Operand, other: Operand) -> Tensor:
    """Whether the input is less or equal. Source: torch.le."""


@elementwise(np.greater, comparison, differentiable=False, samples=_ORDERED)
def gt(input: Operand, other: Operand) -> Tensor:
    """Whether the input is greater. Source: torch.gt."""


@elementwise(np.greater_equal, comparison, differentiable=False, samples=_ORDERED)
def ge(input: Operand, other: Operand) -> Tensor:
    """Whether the input is greater or equal. Source: torch.ge."""


@elementwise(np.logical_and, logical, differentiable=False, samples=_TRUTH)
def logical_and(input: Operand, other: Operand) -> Tensor:
    """Whether both are true (not zero). Source: torch.logical_and."""


@elementwise(np.logical_or, logical, differentiable=False, samples=_TRUTH)
def logical_or(input: Operand, other: Operand) -> Tensor:
    """Whether either is true (not zero). Source: torch.logical_or."""


@elementwise(np.logical_not, logical, differentiable=False, samples=(sample(boolean(2, 3)), sample(real(3))))
def logical_not(input: Tensor) -> Tensor:
    """Whether the input is false (zero). Source: torch.logical_not."""
