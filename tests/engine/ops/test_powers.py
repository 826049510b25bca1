"""Powers where both operands move: second derivatives beside their closed forms, at zero and at the exponent 0 too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import engine.ops  # noqa: F401
from engine.compile.compile import compile as compile_request
from engine.compile.derivatives.forward import ForwardRequest
from engine.compile.derivatives.gradients import GradientRequest
from engine.compile.derivatives.hessian import HessianRequest
from engine.graph.limits import Limits
from tests.engine.programs import call, given, program

INF, NAN = float("inf"), float("nan")


def second_derivatives(base: float, exponent: float) -> list[float]:
    """Return the derivatives by base twice, by both in either order, and by exponent twice."""
    values: dict[str, Any] = {"a": np.float64(base), "b": np.float64(exponent)}
    compiled = compile_request(program(values, call("pow", "a", "b", output="y")), HessianRequest(output="y"), Limits())
    found = compiled.run(given(values))["hessian"]
    return [float(found[row][column]) for row, column in (("a", "a"), ("a", "b"), ("b", "a"), ("b", "b"))]


@pytest.mark.parametrize("base", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("exponent", [-1.5, 0.0, 0.7, 1.0, 1.0 + 1e-9, 3.0])
def test_second_derivatives_are_the_closed_forms(base: float, exponent: float) -> None:
    a, b, log = base, exponent, np.log(base)
    mixed = a ** (b - 1) * (1 + b * log)
    expected = [b * (b - 1) * a ** (b - 2), mixed, mixed, a**b * log**2]
    np.testing.assert_allclose(second_derivatives(base, exponent), expected, rtol=1e-14, atol=1e-300)


@pytest.mark.parametrize(
    ("exponent", "expected"),
    [
        (3.0, [0, 0, 0, 0]),
        (2.0, [2, 0, 0, 0]),
        (1.5, [INF, 0, 0, 0]),
        (1.0, [0, -INF, -INF, 0]),
        (0.5, [-INF, NAN, NAN, 0]),
        (0.0, [0, INF, INF, INF]),
    ],
)
def test_second_derivatives_at_zero_are_limits_from_above_or_nan(exponent: float, expected: list[float]) -> None:
    assert second_derivatives(0.0, exponent) == pytest.approx(expected, nan_ok=True)


SPECIAL = (0.0, 1.0, 2.0, 0.5, 3.0, 1e-310, 1e300, 2.0**53 - 1, 2.0**53, 2.0**53 + 2, 2.5, INF, NAN)
SIGNED = np.array([sign * value for value in SPECIAL for sign in (1, -1)])


def powers_by_gradd(base: Any, exponent: Any) -> Any:
    """Return powers as the compiled op gives them."""
    values = {"a": base, "b": exponent}
    compiled = compile_request(program(values, call("pow", "a", "b", output="y")), ForwardRequest(), Limits())
    return compiled.run(given(values))["outputs"]["y"]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_powers_of_negative_bases_are_those_of_c(dtype: Any) -> None:
    with np.errstate(all="ignore"):
        base, exponent = (grid.astype(dtype) for grid in np.meshgrid(SIGNED, SIGNED))
        expected = np.power(base, exponent)
    found = powers_by_gradd(base, exponent)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    known = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(found[known]), np.signbit(expected[known]))
    np.testing.assert_array_max_ulp(found[known], expected[known], maxulp=1)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_whole_powers_of_many_negative_bases_are_within_an_ulp(dtype: Any) -> None:
    rng = np.random.default_rng(5)
    base = rng.standard_normal(20_000).astype(dtype)
    exponent = np.round(rng.standard_normal(20_000) * 3).astype(dtype)
    np.testing.assert_array_max_ulp(powers_by_gradd(base, exponent), np.power(base, exponent), maxulp=1)


@pytest.mark.parametrize("number", [4, -3, 2.5, None])
def test_numpy_gets_no_negative_base(number: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy computes powers of negative bases one by one, at a fiftieth of the speed."""
    smallest: list[float] = []
    numpy_power = np.power

    def power(base: Any, exponent: Any) -> Any:
        smallest.append(float(np.min(base)))
        return numpy_power(base, exponent)

    values = {"a": -np.arange(1.0, 9.0), "b": np.full(8, 3.0)}
    calls = call("pow", "a", "b" if number is None else number, output="y"), call("sum", "y", output="s")
    compiled = compile_request(program(values, *calls), GradientRequest(wrt=("a",)), Limits())
    monkeypatch.setattr(np, "power", power)
    compiled.run(given(values))
    assert smallest
    assert min(smallest) >= 0
