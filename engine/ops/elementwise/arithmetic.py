"""Elementwise sums, products, quotients and signs. Tensor operators and derivative rules use them."""

from __future__ import annotations

from typing import Literal

import numpy as np

from engine.errors import OpError
from engine.graph.elementwise import is_one
from engine.graph.graph import Node, Tensor
from engine.graph.op import elementwise, op
from engine.graph.promotion import arithmetic, as_tensor, constant, numeric, promoted
from engine.graph.samples import positive, real, sample
from engine.graph.signs import Sign, Singular
from engine.graph.traits import least, magnitude
from engine.graph.types import Number, bool_

_ORDERED = (sample(real(2, 3), real(2, 3)), sample(real(2, 1), real(3)), sample(real(3), 0.5))


Operand = Tensor | Number


def zeros_like(tensor: Tensor) -> Tensor:
    """A scalar zero that broadcasts to the tensor's shape: the result of a rule whose derivative is zero everywhere."""
    return constant(0, tensor.dtype)


def _sign_of_sum(node: Node, given: list[Sign]) -> Sign:
    return max(given) if min(given) else Sign.ANY


def _sign_of_product(node: Node, given: list[Sign]) -> Sign:
    return max(min(given), Sign.NOT_NEGATIVE) if node.inputs[0] is node.inputs[1] else min(given)


def _sign_of_quotient(node: Node, given: list[Sign]) -> Sign:
    return given[0] if given[1] is Sign.POSITIVE else min(given)


@elementwise(np.add, arithmetic, analytic=True, sign=_sign_of_sum)
def _add(input: Operand, other: Operand) -> Tensor: ...


ADD = _add


@_add.shortcut
def _(input: Tensor, other: Tensor) -> Tensor | None:
    positive, subtrahend = _opposite_of(input), _opposite_of(other)
    if positive is not None and positive is subtrahend:
        return neg(_add(positive, positive))
    if subtrahend is not None:
        return _sub(input, subtrahend)
    return None if positive is None else _sub(other, positive)


def _opposite_of(tensor: Tensor) -> Tensor | None:
    """Return x if the tensor is `neg(x)`, else None.

    The shortcuts move negations outwards, where they cost nothing. Rounding is symmetric, so results are the same.
    """
    node = tensor.node
    return node.inputs[0] if node.primitive is neg else None


@_add.vjp("input", "other")
def _(grad: Tensor, out: Tensor, input: Tensor, other: Tensor) -> Tensor:
    return grad


@op(samples=(*_ORDERED, sample(real(2, 3), real(3), alpha=2.5)))
def add(input: Operand, other: Operand, *, alpha: Number = 1) -> Tensor:
    """`input + alpha * other`. Source: torch.add."""
    return _add(input, other if alpha == 1 else _scaled(other, alpha, (input, other)))


@elementwise(np.subtract, arithmetic, analytic=True)
def _sub(input: Operand, other: Operand) -> Tensor: ...


@_sub.shortcut
def _(input: Tensor, other: Tensor) -> Tensor | None:
    positive = _opposite_of(other)
    return None if positive is None else _add(input, positive)


@_sub.vjp("input")
def _(grad: Tensor, out: Tensor, input: Tensor, other: Tensor) -> Tensor:
    return grad


@_sub.vjp("other")
def _(grad: Tensor, out: Tensor, input: Tensor, other: Tensor) -> Tensor:
    return -grad


@op(samples=(*_ORDERED, sample(real(2, 3), real(3), alpha=2.5)))
def sub(input: Operand, other: Operand, *, alpha: Number = 1) -> Tensor:
    """`input - alpha * other`. Source: torch.sub."""
    if promoted((input, other)) is bool_:
        raise OpError(
            "dtype", "sub is not defined for two bool tensors", "Use logical_xor, or give one of them a number's dtype."
        )
    return _sub(input, _scaled(other, alpha, (input, other)))


def _scaled(other: Operand, alpha: Number, operands: tuple[Operand, Operand]) -> Operand:
    """Return `alpha * other` in the promoted dtype of both operands."""
    if alpha == 1:
        return other
    dtype = promoted(operands)
    if isinstance(alpha, float) and not dtype.is_differentiable:
        raise OpError(
            "dtype", f"alpha {alpha} is no integer, but the result's dtype is {dtype}", "Use an integer.", "alpha"
        )
    return mul(as_tensor(other, dtype), alpha)


@elementwise(np.multiply, arithmetic, analytic=True, sign=_sign_of_product)
def mul(input: Operand, other: Operand) -> Tensor:
    """Product. Source: torch.mul."""


@mul.shortcut
def _(input: Tensor, other: Tensor) -> Tensor | None:
    if is_one(other):
        return input
    if is_one(input):
        return other
    left, right = _opposite_of(input), _opposite_of(other)
    if left is not None:
        return neg(mul(left, other)) if right is None else mul(left, right)
    return None if right is None else neg(mul(input, right))


@mul.vjp("input")
def _(grad: Tensor, out: Tensor, input: Tensor, other: Tensor) -> Tensor:
    return grad * other


@mul.vjp("other")
def _(grad: Tensor, out: Tensor, input: Tensor, other: Tensor) -> Tensor:
    return grad * input


@elementwise(np.divide, analytic=True, singular=Singular(1), sign=_sign_of_quotient)
def _div(input: Operand, other: Operand) -> Tensor: ...


@_div.shortcut
def _(input: Tensor, other: Tensor) -> Tensor | None:
    return input if is_one(other) else None


@_div.vjp("input")
def _(grad: Tensor, out: Tensor, input: Tensor, other: Tensor) -> Tensor:
    return grad / other


@_div.vjp("other")
def _(grad: Tensor, out: Tensor, input: Tensor, other: Tensor) -> Tensor:
    return -grad * (out / other)


@elementwise(np.floor_divide, numeric, analytic=False)
def _floor_div(input: Operand, other: Operand) -> Tensor: ...


@_floor_div.vjp("input", "other")
def _(grad: Tensor, out: Tensor, input: Tensor, other: Tensor) -> Tensor:
    return zeros_like(out)


def _truncated(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype.kind == "f":
        return np.trunc(np.divide(a, b))
    quotient = np.floor_divide(a, b)
    return quotient + ((quotient < 0) & (quotient * b != a)).astype(quotient.dtype)


@elementwise(_truncated, numeric, weight=10, spare=2, analytic=False)
def _trunc_div(input: Operand, other: Operand) -> Tensor: ...


@_trunc_div.vjp("input", "other")
def _(grad: Tensor, out: Tensor, input: Tensor, other: Tensor) -> Tensor:
    return zeros_like(out)


@op(
    grad_fn=lambda given, out: "DivBackward2" if given.get("rounding_mode") else "DivBackward0",
    samples=(
        sample(real(2, 3), positive(2, 3)),
        sample(real(2, 1), positive(3)),
        sample(real(3), 2.5),
        sample(1.5, positive(3)),
        sample(real(2, 3), positive(3), rounding_mode="floor"),
        sample(real(2, 3), positive(3), rounding_mode="trunc"),
    ),
)
def div(input: Operand, other: Operand, *, rounding_mode: Literal["floor", "trunc"] | None = None) -> Tensor:
    """Quotient; with `rounding_mode`, rounded towards minus infinity or zero. Source: torch.div."""
    rounded = {None: _div, "floor": _floor_div, "trunc": _trunc_div}
    return rounded[rounding_mode](input, other)


@elementwise(np.negative, numeric, differentiable=True, analytic=True)
def neg(input: Tensor) -> Tensor:
    """Minus the input. Source: torch.neg."""


@neg.shortcut
def _(input: Tensor) -> Tensor | None:
    return _opposite_of(input)


@neg.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return -grad


@elementwise(np.absolute, arithmetic, analytic=False, sign=magnitude)
def abs(input: Tensor) -> Tensor:
    """Absolute value; its derivative at 0 is 0. Source: torch.abs."""


@abs.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return grad * sign(input)


def _run_sign(input: np.ndarray) -> np.ndarray:
    if input.dtype.kind == "f":  # NaN has the sign 0, as in PyTorch
        return np.subtract(input > 0, input < 0, dtype=input.dtype)
    return input if input.dtype.kind == "b" else np.sign(input)


@elementwise(_run_sign, arithmetic, weight=2, spare=2, analytic=False, sign=least)
def sign(input: Tensor) -> Tensor:
    """-1, 0 or 1. Source: torch.sign."""


@sign.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return zeros_like(input)
