"""Helpers of kernels that need more precision than their dtype, or more speed than SciPy's loops."""

from __future__ import annotations

import numpy as np

from engine.graph.kernel import InSingle, Kernel


def in_single(kernel: Kernel) -> InSingle:
    """Run a kernel on float16 as float32, for intermediate results that need more precision than float16."""
    return InSingle(kernel)


def logistic(x: np.ndarray) -> np.ndarray:
    """Return `1 / (1 + exp(-x))`: five times as fast as scipy.special.expit in float32."""
    return 1 / (1 + np.exp(-x))


def softplus_of_minus_abs(x: np.ndarray) -> np.ndarray:
    """Return `log(1 + exp(-|x|))`."""
    return np.log1p(np.exp(np.negative(np.absolute(x))))


_FEW = 2**6
"""Number of elements up to which np.heaviside, a ufunc without vector loops, beats a comparison with conversion."""


def step(x: np.ndarray, at_zero: float) -> np.ndarray:
    """Return 1 where `x` is positive, `at_zero` (0 or 1) where it is 0, and 0 where it is negative, as numbers."""
    if x.size <= _FEW:
        return np.heaviside(x, at_zero)
    return x >= 0 if at_zero else x > 0
