"""Elementwise choice between operands: `maximum`, `minimum`, `where`, `clamp`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.errors import OpError
from engine.graph.graph import Node, Tensor
from engine.graph.kernel import Writing
from engine.graph.op import elementwise, op
from engine.graph.promotion import arithmetic, promoted
from engine.graph.samples import boolean, real, sample
from engine.graph.signs import Sign
from engine.graph.traits import least, most
from engine.graph.types import DType, bool_
from engine.ops.elementwise.arithmetic import Operand
from engine.ops.elementwise.comparison import logical_or, ne
from engine.ops.kernels.masks import chosen

_ORDERED = (sample(real(2, 3), real(2, 3)), sample(real(2, 1), real(3)), sample(real(3), 0.5))


@elementwise(np.maximum, arithmetic, samples=_ORDERED, analytic=False, sign=most)
def maximum(input: Operand, other: Operand) -> Tensor:
    """The larger of two elements; equal elements share the gradient evenly. Source: torch.maximum."""


@maximum.vjp("input")
def _(grad: Tensor, out: Tensor, input: Tensor, other: Tensor) -> Tensor:
    return _share(grad, input >= other, input > other, input, other)


@maximum.vjp("other")
def _(grad: Tensor, out: Tensor, input: Tensor, other: Tensor) -> Tensor:
    return _share(grad, other >= input, other > input, input, other)


@elementwise(np.minimum, arithmetic, samples=_ORDERED, analytic=False, sign=least)
def minimum(input: Operand, other: Operand) -> Tensor:
    """The smaller of two elements; equal elements share the gradient evenly. Source: torch.minimum."""


@minimum.vjp("input")
def _(grad: Tensor, out: Tensor, input: Tensor, other: Tensor) -> Tensor:
    return _share(grad, input <= other, input < other, input, other)


@minimum.vjp("other")
def _(grad: Tensor, out: Tensor, input: Tensor, other: Tensor) -> Tensor:
    return _share(grad, other <= input, other < input, input, other)


def _share(grad: Tensor, wins_or_ties: Tensor, wins: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The gradient of one operand: all where it is chosen, half at a tie, else none. With NaN, both get all of it.

    Source: PyTorch, which masks the gradient with the opposite comparison.
    """
    incomparable = logical_or(ne(a, a), ne(b, b))
    return where(logical_or(wins, incomparable), grad, where(wins_or_ties, grad * 0.5, 0.0))


def _choice(operands: Sequence[Operand]) -> tuple[tuple[DType, ...], DType]:
    dtype = promoted(operands[1:])
    return (bool_, dtype, dtype), dtype


def _sign_of_branches(node: Node, given: list[Sign]) -> Sign:
    return min(given[1:])


@elementwise(Writing(chosen), _choice, weight=2, spare=2, analytic=False, chooses=True, sign=_sign_of_branches)
def _where(condition: Tensor, input: Operand, other: Operand) -> Tensor: ...


@_where.vjp("input")
def _(grad: Tensor, out: Tensor, condition: Tensor, input: Tensor, other: Tensor) -> Tensor:
    return where(condition, grad, 0.0)


@_where.vjp("other")
def _(grad: Tensor, out: Tensor, condition: Tensor, input: Tensor, other: Tensor) -> Tensor:
    return where(condition, 0.0, grad)


@op(samples=(sample(boolean(2, 3), real(2, 3), real(2, 3)), sample(boolean(2, 1), real(3), 0.5)))
def where(condition: Tensor, input: Operand, other: Operand) -> Tensor:
    """`input` where the condition holds, `other` elsewhere. Source: torch.where."""
    if condition.dtype is not bool_:
        raise OpError(
            "dtype",
            f"condition has dtype {condition.dtype}, not bool",
            "Compare it first, for example with ne 0.",
            "condition",
        )
    return _where(condition, input, other)


@elementwise(np.maximum, arithmetic, analytic=False, sign=most)
def _clamp_min(input: Operand, bound: Operand) -> Tensor: ...


@_clamp_min.vjp("input")
def _(grad: Tensor, out: Tensor, input: Tensor, bound: Tensor) -> Tensor:
    return where(input >= bound, grad, 0.0)


@_clamp_min.vjp("bound")
def _(grad: Tensor, out: Tensor, input: Tensor, bound: Tensor) -> Tensor:
    return where(input < bound, grad, 0.0)


@elementwise(np.minimum, arithmetic, analytic=False, sign=least)
def _clamp_max(input: Operand, bound: Operand) -> Tensor: ...


@_clamp_max.vjp("input")
def _(grad: Tensor, out: Tensor, input: Tensor, bound: Tensor) -> Tensor:
    return where(input <= bound, grad, 0.0)


@_clamp_max.vjp("bound")
def _(grad: Tensor, out: Tensor, input: Tensor, bound: Tensor) -> Tensor:
    return where(input > bound, grad, 0.0)


@op(
    grad_fn=lambda given, out: (
        f"ClampBackward{0 if any(isinstance(given.get(k), Tensor) for k in ('min', 'max')) else 1}"
    ),
    samples=(
        sample(real(2, 3), -0.5, 0.5),
        sample(real(2, 3), min=-0.5),
        sample(real(2, 3), max=0.5),
        sample(real(2, 3), real(3, low=-2, high=0), real(2, 1, low=0, high=2)),
    ),
)
def clamp(input: Tensor, min: Operand | None = None, max: Operand | None = None) -> Tensor:
    """The input, at least `min` and at most `max`. Derivative 1 at a number's bound. Source: torch.clamp."""
    if min is None and max is None:
        raise OpError("missing_argument", "clamp needs min, max or both", "Give at least one bound.")
    bounded = input
    if min is not None:
        bounded = _clamp_min(bounded, min)
    if max is not None:
        bounded = _clamp_max(bounded, max)
    return bounded
