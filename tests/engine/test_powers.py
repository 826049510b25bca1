"""Powers where both operands move: second derivatives beside their closed forms, at zero and at the exponent 0 too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import engine.ops  # noqa: F401
from engine.compile import compile as compile_request
from engine.program import Limits
from engine.requests import HessianRequest
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
