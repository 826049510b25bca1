"""The cumulative distribution function of the normal distribution, for `gelu` and similar ops, in NumPy vector loops.

SciPy's loop is scalar and takes 13 to 18 ns an element; this one takes 5 ns.
"""

from __future__ import annotations

import numpy as np
from scipy import special

_FURTHEST = np.float32(40)
"""Bound of abs(x): there the tail is 0, and no intermediate result overflows."""

_PIECE = 2**16
"""Number of elements in a piece.

A smaller piece fits the second-level cache better, but its calls are so short that two threads wait for the interpreter
lock: `gelu` of 2**20 elements on two cores takes 6.3 ms in pieces of 2**14, 5 ms of 2**15, 4.1 ms of 2**16, 4.8 ms of
2**17.
"""

_POLYNOMIALS = np.array(
    (
        (0.43829461413211834, 0.18323488558176, 0.0406331405709974, 0.004116296024203296, 0),
        (1.674474209473271, 1.2025021004808474, 0.4694699632577275, 0.1018586262129642, 0.010317904254736632),
    )
)
_CONSTANTS = np.array(((0.5000000029533433,), (1.0,)))
"""Constant terms of the rational approximation of `cdf(-z) * exp(z**2 / 2)` (scaled Mills' ratio) in z, for z in
[0, 14.5]: numerator and denominator. The coefficients of z to z**5 are above. The relative error is 6e-9. No
coefficient
is negative, so no cancellation occurs. Fitted by reweighted least squares (Lawson 1961) to SciPy's erfcx."""


def normal_cdf(x: np.ndarray) -> np.ndarray:
    """Return the probability that a standard normal variable is at most x, in the dtype of x (float32 or float64).

    float32 is computed as float64, so that its error is below 1 unit in the last place, in the lower tail too.
    """
    if x.dtype != np.float32 or not x.ndim:
        return np.asarray(special.ndtr(x))
    result = np.empty(x.shape, np.float32)
    arguments, values = x.reshape(-1), result.reshape(-1)
    scratch = np.empty(7 * min(_PIECE, x.size))
    for start in range(0, x.size, _PIECE):
        piece = slice(start, start + _PIECE)
        length = min(_PIECE, x.size - start)
        powers, parts = scratch[: 5 * length].reshape(5, length), scratch[5 * length : 7 * length].reshape(2, length)
        _write_tail(arguments[piece], values[piece], powers, parts)
        _reflect(arguments[piece], values[piece])
    return result


def _write_tail(x: np.ndarray, tail: np.ndarray, powers: np.ndarray, parts: np.ndarray) -> None:
    """Write `cdf(-abs(x))` to `tail`. The other arrays are scratch memory: (5, n) and (2, n), float64."""
    np.absolute(x, out=tail)
    if not np.maximum.reduce(tail) <= _FURTHEST:  # larger elements, or NaN, which stays NaN
        np.minimum(tail, _FURTHEST, out=tail)
    z, square, *_ = powers
    z[...] = tail
    np.multiply(z, z, out=square)
    np.multiply(z, square, out=powers[2])
    np.multiply(square, square, out=powers[3])
    np.multiply(square, powers[2], out=powers[4])
    np.matmul(_POLYNOMIALS, powers, out=parts)
    parts += _CONSTANTS
    numerator, denominator = parts
    numerator /= denominator
    square *= -0.5
    np.exp(square, out=square)
    np.multiply(numerator, square, out=tail, casting="same_kind")


def _reflect(x: np.ndarray, tail: np.ndarray) -> None:
    """Replace the tail by 1 - tail where x is not negative, by arithmetic: a selection takes 1 ns an element."""
    np.subtract(np.greater_equal(x, 0).astype(np.float32), tail, out=tail)
    np.absolute(tail, out=tail)
