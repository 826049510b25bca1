"""Kernels that take one way for few elements and another for many give the same bits either way."""

from __future__ import annotations

import numpy as np
import pytest

from engine.ops.kernels.precision import step


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("at_zero", [0.0, 1.0])
def test_a_step_is_the_same_for_few_and_for_many_elements(at_zero: float, dtype: str) -> None:
    x = np.array([-np.inf, -2.5, -1e-300, -0.0, 0.0, 1e-300, 3.0, np.inf], dtype)
    few = step(x, at_zero) - x
    many = step(np.tile(x, 100), at_zero) - np.tile(x, 100)
    assert many.dtype == few.dtype == dtype
    np.testing.assert_array_equal(many.view(f"u{x.itemsize}"), np.tile(few, 100).view(f"u{x.itemsize}"))
