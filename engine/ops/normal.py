"""The normal distribution's function, for `gelu` and its kind, by NumPy's vector loops in float32.

SciPy's loop for it is scalar and takes 13 to 18 ns an element, this one 6 ns.
"""

from __future__ import annotations

import numpy as np
from scipy import special

_FURTHEST = np.float32(40)
"""Where the tail is 0, and no intermediate result overflows."""

_NUMERATOR = (0.004116296024203296, 0.0406331405709974, 0.18323488558176, 0.43829461413211834, 0.5000000029533433)
_DENOMINATOR = (
    0.010317904254736632,
    0.1018586262129642,
    0.4694699632577275,
    1.2025021004808474,
    1.674474209473271,
    1.0,
)
"""Coefficients, highest power first, of the rational function of z that is nearest to `cdf(-z) * exp(z**2 / 2)` (Mills'
ratio, scaled) for z in [0, 14.5]: its relative error is 6e-9. All are positive, so nothing cancels. Fitted by
reweighted least squares (Lawson 1961) to SciPy's erfcx."""


def normal_cdf(x: np.ndarray) -> np.ndarray:
    """Return the probability that a standard normal variable is at most x, in the dtype of x (float32 or float64).

    float32 is computed as float64, so that its error is below 1 unit in the last place, in the lower tail too.
    """
    if x.dtype != np.float32 or not x.ndim:
        return np.asarray(special.ndtr(x))
    sign = np.absolute(x)
    np.minimum(sign, _FURTHEST, out=sign)
    z = sign.astype(np.float64)
    ratio = _polynomial(_NUMERATOR, z)
    ratio /= _polynomial(_DENOMINATOR, z)
    z *= z
    z *= -0.5
    np.exp(z, out=z)
    ratio *= z
    np.copysign(np.float32(1), x, out=sign)
    return _reflected(ratio.astype(np.float32), sign)


def _polynomial(coefficients: tuple[float, ...], z: np.ndarray) -> np.ndarray:
    """Return the polynomial's value at z, by Horner's rule."""
    first, second, *rest = coefficients
    value = np.multiply(z, first)
    value += second
    for coefficient in rest:
        value *= z
        value += coefficient
    return value


def _reflected(tail: np.ndarray, sign: np.ndarray) -> np.ndarray:
    """Return the tail where the sign is -1, and 1 less it where that is 1: by arithmetic, as a choice takes 1 ns."""
    tail *= sign
    sign += np.float32(1)
    sign *= np.float32(0.5)
    return np.subtract(sign, tail, out=tail)
