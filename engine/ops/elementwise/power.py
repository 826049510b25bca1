"""Elementwise powers and roots."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from engine.errors import OpError
from engine.graph.graph import Node, Tensor
from engine.graph.op import elementwise, op
from engine.graph.promotion import as_tensor, numeric, promoted
from engine.graph.samples import positive, real, sample
from engine.graph.signs import Sign, Singular
from engine.graph.traits import least, magnitude
from engine.graph.types import DType, Number, bool_, int64
from engine.ops.elementwise.arithmetic import Operand, zeros_like

_POSITIVE = (sample(positive(2, 3)), sample(positive()), sample(positive(0, 3)))
_POWERS = (
    sample(positive(2, 3), real(2, 3)),
    sample(positive(2, 1), real(3)),
    sample(real(3), 3),
    sample(2.0, real(3)),
)


def _float_power(input: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """Floating `input ** exponent`, with broadcasting, with the values of C's pow (C99, F.9.4.4).

    NumPy has vector instructions for positive bases only. Negative bases run scalar code, which takes 20 to 70 times
    as long. So the kernel takes the power of the absolute value and corrects the sign, or NaN for fractions.
    """
    negative = np.signbit(input)
    if input.dtype == np.float16 or not negative.any():  # halves run scalar code for either sign
        return np.power(input, exponent)
    half = exponent * exponent.dtype.type(0.5)
    whole = np.floor(exponent) == exponent
    odd = whole & (np.floor(half) != half)
    factor = np.where(odd & negative, exponent.dtype.type(-1), exponent.dtype.type(1))
    np.copyto(factor, np.nan, where=~whole & (input < 0) & (input > -np.inf))
    result = np.power(np.abs(input), exponent)
    result *= factor
    return result


def _run_pow(input: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    if input.dtype.kind == "f":
        return _float_power(input, exponent)
    if exponent.dtype.kind != "i":
        return np.power(input, exponent)
    positive = np.power(input, np.maximum(exponent, 0))
    inverse = np.where(input == -1, np.where(exponent % 2 == 0, 1, -1), input == 1)  # as PyTorch: 0 except for 1, -1
    return np.where(exponent < 0, inverse, positive).astype(positive.dtype)


@elementwise(_run_pow, numeric, weight=60, spare=4, analytic=False, singular=Singular())
def _pow(input: Operand, exponent: Operand) -> Tensor: ...


@_pow.vjp("input")
def _(grad: Tensor, out: Tensor, input: Tensor, exponent: Tensor) -> Tensor:
    return grad * _derivative(input, exponent, orders=(1, 0))


@_pow.vjp("exponent")
def _(grad: Tensor, out: Tensor, input: Tensor, exponent: Tensor) -> Tensor:
    return grad * _derivative(input, exponent, orders=(0, 1))


def _run_derivative(input: np.ndarray, exponent: np.ndarray, *, orders: tuple[int, int]) -> np.ndarray:
    """Leibniz's rule on (exponent)_m * input ** (exponent - m), the falling factorial times a power.

    A term with a factor 0 is 0, also if another factor is infinite or NaN. A power of 0 times logarithms of 0 is 0.
    """
    by_input, by_exponent = orders
    factorial = [np.ones_like(exponent), *(np.zeros_like(exponent) for _ in range(by_exponent))]
    for step in range(by_input):  # the falling factorial and its derivatives, factor by factor
        lower = [np.zeros_like(exponent), *factorial[:-1]]
        factorial = [
            (exponent - step) * f + order * g for order, (f, g) in enumerate(zip(factorial, lower, strict=True))
        ]
    power = _float_power(input, exponent - by_input)
    total = np.where(factorial[by_exponent] == 0, 0, factorial[by_exponent] * power)
    if by_exponent:
        at_least = np.greater_equal if orders == (0, 1) else np.greater  # 0 ** 0 is 1 for PyTorch's gradient
        vanishes = (input == 0) & at_least(exponent, by_input)
        logarithm = np.log(input)
    for order in range(1, by_exponent + 1):
        factor = math.comb(by_exponent, order) * factorial[by_exponent - order]
        total += np.where((factor == 0) | vanishes, 0, factor * power * logarithm**order)
    return total


@elementwise(_run_derivative, numeric, weight=300, spare=12, analytic=False, singular=Singular())
def _derivative(input: Tensor, exponent: Tensor, *, orders: tuple[int, int]) -> Tensor:
    """The derivative of a power, of given orders in the input and in the exponent."""


@_derivative.vjp("input")
def _(grad: Tensor, out: Tensor, input: Tensor, exponent: Tensor, *, orders: tuple[int, int]) -> Tensor:
    return grad * _derivative(input, exponent, orders=(orders[0] + 1, orders[1]))


@_derivative.vjp("exponent")
def _(grad: Tensor, out: Tensor, input: Tensor, exponent: Tensor, *, orders: tuple[int, int]) -> Tensor:
    return grad * _derivative(input, exponent, orders=(orders[0], orders[1] + 1))


def _pow_grad_fn(input: Operand, exponent: Operand) -> str:
    if not isinstance(exponent, Tensor):
        return "PowBackward0"
    return "PowBackward1" if isinstance(input, Tensor) else "PowBackward2"


@op(
    grad_fn=lambda given, out: _pow_grad_fn(given["input"], given["exponent"]),
    samples=_POWERS,
)
def pow(input: Operand, exponent: Operand) -> Tensor:
    """`input` to the power `exponent`. Source: torch.pow; gradients at zero as measured there."""
    if isinstance(input, Tensor) and not isinstance(exponent, Tensor):
        return _number_power(input, exponent)
    return _pow(input, exponent)


def _number_power(input: Tensor, exponent: Number) -> Tensor:
    dtype = promoted((input, exponent))
    if dtype.is_integral and isinstance(exponent, int) and exponent < 0:
        raise OpError(
            "dtype",
            "integers to negative integer powers are not integers",
            "Give the tensor a floating dtype.",
            "exponent",
        )
    base = as_tensor(input, dtype)
    known = _KNOWN_POWERS.get(exponent) if dtype.is_differentiable else None
    return known(base) if known else _power(base, exponent=exponent)


def _run_power(input: np.ndarray, *, exponent: Number) -> np.ndarray:
    if exponent == 3:
        return input * input * input
    known = input.dtype.type(exponent)
    return _float_power(input, known) if input.dtype.kind == "f" else np.power(input, known)


def _sign_of_power(node: Node, given: list[Sign]) -> Sign:
    return magnitude(node, given) if node.params["exponent"] % 2 == 0 else given[0]


@elementwise(_run_power, numeric, weight=20, spare=2, analytic=False, singular=Singular(), sign=_sign_of_power)
def _power(input: Tensor, *, exponent: Number) -> Tensor:
    """A power with a known exponent."""


@_power.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, exponent: Number) -> Tensor:
    if exponent == 0:
        return zeros_like(input)
    return grad * (_number_power(input, exponent - 1) * exponent)


def _whole(operands: Sequence[Operand]) -> tuple[tuple[DType, ...], DType]:
    """The input's dtype, int64 for bool: the promotion with the exponent 2."""
    dtype = promoted(operands)
    dtype = int64 if dtype is bool_ else dtype
    return (dtype,), dtype


@elementwise(np.square, _whole, grad_fn="PowBackward0", analytic=True, sign=magnitude)
def square(input: Tensor) -> Tensor:
    """Square. Source: torch.square."""


@square.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return grad * (input * 2)


@elementwise(np.sqrt, samples=_POSITIVE, analytic=True, singular=Singular(), sign=magnitude)
def sqrt(input: Tensor) -> Tensor:
    """Square root. Source: torch.sqrt."""


@sqrt.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return grad / (out * 2)


@elementwise(
    lambda x: np.reciprocal(np.sqrt(x)),
    samples=_POSITIVE,
    weight=8,
    spare=2,
    analytic=False,
    singular=Singular(),
    sign=least,
)
def rsqrt(input: Tensor) -> Tensor:
    """One over the square root. Source: torch.rsqrt."""


@rsqrt.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return grad * (out * out * out * -0.5)


@elementwise(np.reciprocal, samples=_POSITIVE, analytic=True, singular=Singular(), sign=least)
def reciprocal(input: Tensor) -> Tensor:
    """One over the input. Source: torch.reciprocal."""


@reciprocal.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return -grad * (out * out)


_KNOWN_POWERS: dict[Number, Callable[[Tensor], Tensor]] = {
    1: lambda x: x,
    2: square,
    0.5: sqrt,
    -0.5: rsqrt,
    -1: reciprocal,
}
