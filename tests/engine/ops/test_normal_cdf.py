"""The normal distribution's function keeps every digit of its dtype, far out in the tail too."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from engine.ops.kernels.normal_cdf import normal_cdf


@pytest.mark.parametrize(("low", "high"), [(-13, -5), (-5, 0), (-1e-3, 1e-3), (0, 5), (5, 13)])
def test_float32_is_within_one_unit_in_the_last_place(low: float, high: float) -> None:
    x = np.random.default_rng(0).uniform(low, high, 100_000).astype(np.float32)
    exact = special.ndtr(x.astype(np.float64))
    found = normal_cdf(x)
    assert found.dtype == np.float32
    assert np.max(np.abs(found - exact) / np.spacing(exact.astype(np.float32))) < 1


def test_float64_is_that_of_scipy() -> None:
    x = np.linspace(-40, 40, 1001)
    np.testing.assert_array_equal(normal_cdf(x), special.ndtr(x))


def test_limits_and_nan() -> None:
    x = np.array([-np.inf, -1e38, -40, 0, -0.0, 40, 1e38, np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(normal_cdf(x), np.array([0, 0, 0, 0.5, 0.5, 1, 1, 1, np.nan], np.float32))


def test_an_element_does_not_depend_on_those_beside_it() -> None:
    x = np.random.default_rng(1).standard_normal((300, 500)).astype(np.float32).T[::2]
    expected = normal_cdf(x)
    lost = np.arange(x.size).reshape(x.shape) % 7 == 0
    found = normal_cdf(np.where(lost, np.array([np.nan, np.inf], np.float32)[np.arange(300) % 2], x))
    np.testing.assert_array_equal(found[~lost], expected[~lost])
    np.testing.assert_array_max_ulp(expected, special.ndtr(x.astype(np.float64)).astype(np.float32), maxulp=1)
    assert normal_cdf(np.zeros((0, 3), np.float32)).shape == (0, 3)
