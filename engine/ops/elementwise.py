"""Arithmetic, comparison and elementary functions, element by element, with broadcasting and promotion."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from scipy import special

from engine.errors import OpError
from engine.graph import Tensor
from engine.op import elementwise, op
from engine.operands import arithmetic, as_tensor, comparison, constant, logical, numeric, promoted
from engine.ops.masks import chosen
from engine.ops.precision import in_single, logistic
from engine.samples import boolean, positive, real, sample
from engine.types import DType, Number, bool_, int64

Operand = Tensor | Number

_ANY = (sample(real(2, 3)), sample(real()), sample(real(0, 3)))
_POSITIVE = (sample(positive(2, 3)), sample(positive()), sample(positive(0, 3)))
_POWERS = (
    sample(positive(2, 3), real(2, 3)),
    sample(positive(2, 1), real(3)),
    sample(real(3), 3),
    sample(2.0, real(3)),
)
_ORDERED = (sample(real(2, 3), real(2, 3)), sample(real(2, 1), real(3)), sample(real(3), 0.5))
_TRUTH = (sample(boolean(2, 3), boolean(2, 3)), sample(real(2, 1), boolean(3)))


def zeros_like(tensor: Tensor) -> Tensor:
    """A zero that broadcasts to the tensor's shape: what a rule returns where the derivative is zero everywhere."""
    return constant(0, tensor.dtype)


# Arithmetic


@elementwise(np.add, arithmetic)
def _add(input: Operand, other: Operand) -> Tensor: ...


@_add.vjp("input", "other")
def _(grad: Tensor, out: Tensor, input: Tensor, other: Tensor) -> Tensor:
    return grad


@op(samples=(*_ORDERED, sample(real(2, 3), real(3), alpha=2.5)))
def add(input: Operand, other: Operand, *, alpha: Number = 1) -> Tensor:
    """`input + alpha * other`. Source: torch.add."""
    return _add(input, _scaled(other, alpha, (input, other)))


@elementwise(np.subtract, arithmetic)
def _sub(input: Operand, other: Operand) -> Tensor: ...


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
    """Return `alpha * other`, in the dtype that the whole operation promotes to."""
    if alpha == 1:
        return other
    dtype = promoted(operands)
    if isinstance(alpha, float) and not dtype.is_differentiable:
        raise OpError(
            "dtype", f"alpha {alpha} is no integer, but the result's dtype is {dtype}", "Use an integer.", "alpha"
        )
    return mul(as_tensor(other, dtype), alpha)


@elementwise(np.multiply, arithmetic)
def mul(input: Operand, other: Operand) -> Tensor:
    """Product. Source: torch.mul."""


@mul.vjp("input")
def _(grad: Tensor, out: Tensor, input: Tensor, other: Tensor) -> Tensor:
    return grad * other


@mul.vjp("other")
def _(grad: Tensor, out: Tensor, input: Tensor, other: Tensor) -> Tensor:
    return grad * input


@elementwise(np.divide)
def _div(input: Operand, other: Operand) -> Tensor: ...


@_div.vjp("input")
def _(grad: Tensor, out: Tensor, input: Tensor, other: Tensor) -> Tensor:
    return grad / other


@_div.vjp("other")
def _(grad: Tensor, out: Tensor, input: Tensor, other: Tensor) -> Tensor:
    return -grad * (out / other)


@elementwise(np.floor_divide, numeric)
def _floor_div(input: Operand, other: Operand) -> Tensor: ...


@_floor_div.vjp("input", "other")
def _(grad: Tensor, out: Tensor, input: Tensor, other: Tensor) -> Tensor:
    return zeros_like(out)


def _truncated(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype.kind == "f":
        return np.trunc(np.divide(a, b))
    quotient = np.floor_divide(a, b)
    return quotient + ((quotient < 0) & (quotient * b != a)).astype(quotient.dtype)


@elementwise(_truncated, numeric)
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


@elementwise(np.negative, numeric, differentiable=True)
def neg(input: Tensor) -> Tensor:
    """Minus the input. Source: torch.neg."""


@neg.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return -grad


def _run_pow(input: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    if exponent.dtype.kind != "i":
        return np.power(input, exponent)
    positive = np.power(input, np.maximum(exponent, 0))
    inverse = np.where(input == -1, np.where(exponent % 2 == 0, 1, -1), input == 1)  # as PyTorch: 0 but for 1 and -1
    return np.where(exponent < 0, inverse, positive).astype(positive.dtype)


@elementwise(_run_pow, numeric)
def _pow(input: Operand, exponent: Operand) -> Tensor: ...


@_pow.vjp("input")
def _(grad: Tensor, out: Tensor, input: Tensor, exponent: Tensor) -> Tensor:
    slope = exponent * _pow(input, exponent - 1)
    return grad * where(eq(exponent, 0), 0.0, slope)


@_pow.vjp("exponent")
def _(grad: Tensor, out: Tensor, input: Tensor, exponent: Tensor) -> Tensor:
    at_zero = logical_and(eq(input, 0), exponent >= 0)
    return grad * where(at_zero, 0.0, out * log(input))


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
    return input * input * input if exponent == 3 else np.power(input, input.dtype.type(exponent))


@elementwise(_run_power, numeric)
def _power(input: Tensor, *, exponent: Number) -> Tensor:
    """A power with a known exponent."""


@_power.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, exponent: Number) -> Tensor:
    if exponent == 0:
        return zeros_like(input)
    return grad * (_number_power(input, exponent - 1) * exponent)


@elementwise(np.absolute, arithmetic)
def abs(input: Tensor) -> Tensor:
    """Absolute value; its derivative at 0 is 0. Source: torch.abs."""


@abs.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return grad * sign(input)


def _run_sign(input: np.ndarray) -> np.ndarray:
    if input.dtype.kind == "f":  # NaN has the sign 0, as in PyTorch
        return np.subtract(input > 0, input < 0, dtype=input.dtype)
    return input if input.dtype.kind == "b" else np.sign(input)


@elementwise(_run_sign, arithmetic)
def sign(input: Tensor) -> Tensor:
    """-1, 0 or 1. Source: torch.sign."""


@sign.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return zeros_like(input)


def _whole(operands: Sequence[Operand]) -> tuple[tuple[DType, ...], DType]:
    """The input's dtype; bool counts as int64, as beside the exponent 2."""
    dtype = promoted(operands)
    dtype = int64 if dtype is bool_ else dtype
    return (dtype,), dtype


@elementwise(np.square, _whole, grad_fn="PowBackward0")
def square(input: Tensor) -> Tensor:
    """Square. Source: torch.square."""


@square.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return grad * (input * 2)


# Exponentials, roots and logarithms


@elementwise(np.exp)
def exp(input: Tensor) -> Tensor:
    """e to the power of the input. Source: torch.exp."""


@exp.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return grad * out


@elementwise(np.expm1)
def expm1(input: Tensor) -> Tensor:
    """`exp(input) - 1`, accurate near 0. Source: torch.expm1."""


@expm1.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return grad * (out + 1)


@elementwise(np.log, samples=_POSITIVE)
def log(input: Tensor) -> Tensor:
    """Natural logarithm. Source: torch.log."""


@log.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return grad / input


@elementwise(np.log1p, samples=_POSITIVE)
def log1p(input: Tensor) -> Tensor:
    """`log(1 + input)`, accurate near 0. Source: torch.log1p."""


@log1p.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return grad / (input + 1)


@elementwise(np.sqrt, samples=_POSITIVE)
def sqrt(input: Tensor) -> Tensor:
    """Square root. Source: torch.sqrt."""


@sqrt.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return grad / (out * 2)


@elementwise(lambda x: np.reciprocal(np.sqrt(x)), samples=_POSITIVE)
def rsqrt(input: Tensor) -> Tensor:
    """One over the square root. Source: torch.rsqrt."""


@rsqrt.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return grad * (out * out * out * -0.5)


@elementwise(np.reciprocal, samples=_POSITIVE)
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


# Trigonometry and sigmoids


@elementwise(np.sin)
def sin(input: Tensor) -> Tensor:
    """Sine of radians. Source: torch.sin."""


@sin.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return grad * cos(input)


@elementwise(np.cos)
def cos(input: Tensor) -> Tensor:
    """Cosine of radians. Source: torch.cos."""


@cos.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return -grad * sin(input)


@elementwise(np.tanh)
def tanh(input: Tensor) -> Tensor:
    """Hyperbolic tangent. Source: torch.tanh."""


@tanh.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return (grad + grad * out) * (1 - out)  # no cancellation near |out| = 1


@elementwise(in_single(logistic))
def sigmoid(input: Tensor) -> Tensor:
    """`1 / (1 + exp(-input))`. Source: torch.sigmoid."""


@sigmoid.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return grad * ((1 - out) * out)


@elementwise(in_single(special.erf))
def erf(input: Tensor) -> Tensor:
    """Error function. Source: torch.erf."""


@erf.vjp
def _(grad: Tensor, out: Tensor, input: Tensor) -> Tensor:
    return grad * (exp(-square(input)) * (2 / math.sqrt(math.pi)))


# Comparison and choice


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
    """Whether it is false (zero). Source: torch.logical_not."""


@elementwise(np.maximum, arithmetic, samples=_ORDERED)
def maximum(input: Operand, other: Operand) -> Tensor:
    """The larger of two; half the gradient goes to each where they are equal. Source: torch.maximum."""


@maximum.vjp("input")
def _(grad: Tensor, out: Tensor, input: Tensor, other: Tensor) -> Tensor:
    return _share(grad, input >= other, input > other, input, other)


@maximum.vjp("other")
def _(grad: Tensor, out: Tensor, input: Tensor, other: Tensor) -> Tensor:
    return _share(grad, other >= input, other > input, input, other)


@elementwise(np.minimum, arithmetic, samples=_ORDERED)
def minimum(input: Operand, other: Operand) -> Tensor:
    """The smaller of two; half the gradient goes to each where they are equal. Source: torch.minimum."""


@minimum.vjp("input")
def _(grad: Tensor, out: Tensor, input: Tensor, other: Tensor) -> Tensor:
    return _share(grad, input <= other, input < other, input, other)


@minimum.vjp("other")
def _(grad: Tensor, out: Tensor, input: Tensor, other: Tensor) -> Tensor:
    return _share(grad, other <= input, other < input, input, other)


def _share(grad: Tensor, wins_or_ties: Tensor, wins: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The whole gradient where it wins, half at a tie, none where it loses; all of it where the two do not compare.

    Source: PyTorch masks the gradient with the opposite comparison, so that NaN passes it on to both.
    """
    incomparable = logical_or(ne(a, a), ne(b, b))
    return where(logical_or(wins, incomparable), grad, where(wins_or_ties, grad * 0.5, 0.0))


def _choice(operands: Sequence[Operand]) -> tuple[tuple[DType, ...], DType]:
    dtype = promoted(operands[1:])
    return (bool_, dtype, dtype), dtype


@elementwise(chosen, _choice)
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


@elementwise(np.maximum, arithmetic)
def _clamp_min(input: Operand, bound: Operand) -> Tensor: ...


@_clamp_min.vjp("input")
def _(grad: Tensor, out: Tensor, input: Tensor, bound: Tensor) -> Tensor:
    return where(input >= bound, grad, 0.0)


@_clamp_min.vjp("bound")
def _(grad: Tensor, out: Tensor, input: Tensor, bound: Tensor) -> Tensor:
    return where(input < bound, grad, 0.0)


@elementwise(np.minimum, arithmetic)
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
    """The input, at least `min` and at most `max`. Its derivative at a number's bound is 1. Source: torch.clamp."""
    if min is None and max is None:
        raise OpError("missing_argument", "clamp needs min, max or both", "Give at least one bound.")
    bounded = input
    if min is not None:
        bounded = _clamp_min(bounded, min)
    if max is not None:
        bounded = _clamp_max(bounded, max)
    return bounded
