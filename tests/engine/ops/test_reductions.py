"""What the laws cannot hold of reductions: kinks, ties, NaN and infinities as in torch 2.13, precision, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.errors import GraphError
from tests.engine.one_op import gradient, gradients, hessian, value

NAN, INF = float("nan"), float("inf")


def array(*values: float, dtype: str = "float64") -> Any:
    return np.array(values, dtype)


@pytest.mark.parametrize(
    ("op", "arguments", "at", "expected"),
    [
        ("amax", (), [1, 1, 0], [0.5, 0.5, 0]),
        ("amax", (), [1, NAN, 2], [NAN, NAN, NAN]),
        ("max", (), [1, 1, 0], [0.5, 0.5, 0]),
        ("max", (), [1, NAN, 3, NAN], [0, 0.5, 0, 0.5]),
        ("logsumexp", (0,), [-INF, -INF], [NAN, NAN]),
        ("logsumexp", (0,), [INF, 0], [NAN, 0]),
        ("logsumexp", (0,), [1000, 1000], [0.5, 0.5]),
        ("prod", (), [0, 2, 3], [6, 0, 0]),
        ("prod", (), [0, 0, 3], [0, 0, 0]),
        ("cumprod", (0,), [2, 0, 7], [1, 16, 0]),
        ("std", (), [3, 3], [0, 0]),
        ("var", (), [3, 3], [0, 0]),
        ("std", (), [3], [NAN]),
        ("nansum", (), [1, NAN], [1, 0]),
    ],
)
def test_gradients_at_kinks(op: str, arguments: tuple[Any, ...], at: list[float], expected: list[float]) -> None:
    np.testing.assert_allclose(gradient(op, array(*at), *arguments), expected, rtol=1e-13)


@pytest.mark.parametrize("op", ["max", "min"])
def test_the_first_of_equal_elements_is_meant_along_a_dim_and_has_the_gradient(op: str) -> None:
    tie = array(1, 1, 1)
    chosen, index = value(op, tie, 0, results=2)
    assert (chosen, index) == (1, 0)
    np.testing.assert_array_equal(gradient(op, tie, 0, results=2), [1, 0, 0])


def test_nan_is_the_largest_and_the_smallest_element() -> None:
    at = array(1, NAN, 3, NAN)
    assert value("argmax", at) == value("argmin", at) == 1
    assert np.isnan(value("amax", at))
    np.testing.assert_array_equal(gradient("max", at, 0, results=2), [0, 1, 0, 0])


def test_the_binary_form_of_max_is_maximum() -> None:
    a, b = array(1, 2), array(2, 2)
    np.testing.assert_array_equal(value("max", a, b), [2, 2])
    np.testing.assert_array_equal(gradients("max", a, b), [[0, 0.5], [1, 0.5]])


@pytest.mark.parametrize("zeros", [(), (1,), (0, 2), (0, 1, 3)])
def test_products_have_exact_second_derivatives_at_zeros(zeros: tuple[int, ...]) -> None:
    at = array(2, 3, 5, 7)
    at[list(zeros)] = 0
    exact = [[0 if i == j else np.prod(np.delete(at, [i, j])) for j in range(4)] for i in range(4)]
    np.testing.assert_allclose(hessian("prod", at), exact, rtol=1e-14)


def test_running_products_have_exact_second_derivatives_at_zeros() -> None:
    at = array(2, 0, 3)  # x0 + x0 x1 + x0 x1 x2
    np.testing.assert_array_equal(hessian("cumprod", at, 0), [[0, 4, 0], [4, 0, 2], [0, 2, 0]])


def test_a_long_running_product_has_the_gradient_of_a_short_one() -> None:
    at = np.random.default_rng(0).uniform(0.9, 1.1, 300)
    products = np.cumprod(at)
    np.testing.assert_allclose(gradient("cumprod", at, 0), np.cumsum(products[::-1])[::-1] / at, rtol=1e-12)
    np.testing.assert_allclose(gradient("cumprod", np.tile(at, (400, 1)), 1)[7], gradient("cumprod", at, 0), rtol=1e-12)


def test_the_logarithm_of_running_sums_does_not_overflow() -> None:
    at = array(1000, 1000, -1000)
    np.testing.assert_allclose(value("logcumsumexp", at, 0), 1000 + np.log([1, 2, 2]))
    np.testing.assert_allclose(gradient("logcumsumexp", at, 0), [2, 1, 0])


@pytest.mark.parametrize("last", [-800.0, 800.0, 1e4])
def test_the_logarithm_of_running_sums_has_second_derivatives_at_any_size(last: float) -> None:
    first = 1 / (1 + np.exp(last - 1)) if last < 0 else np.exp(1 - last)  # the share of the first of the two
    share = first * (1 - first)
    found = hessian("logcumsumexp", array(1, last), 0)
    np.testing.assert_allclose(found, [[share, -share], [-share, share]], atol=1e-300)


@pytest.mark.parametrize(("order", "expected"), [(2.0, NAN), (1.5, NAN), (3.0, 0.0)])
def test_a_norm_has_pytorchs_second_derivative_at_zero(order: float, expected: float) -> None:
    np.testing.assert_equal(hessian("linalg.vector_norm", array(0, 0), order), np.full((2, 2), expected))


@pytest.mark.parametrize("shape", [(1_000_000, 3), (3, 300_000), (50_000, 2, 5), (4, 50_000, 5)])
def test_float32_sums_round_as_little_over_any_dims(shape: tuple[int, ...]) -> None:
    many = np.random.default_rng(0).random(shape, np.float32)
    for dim in range(len(shape)):
        np.testing.assert_allclose(value("sum", many, dim), many.sum(dim, dtype=np.float64), rtol=5e-7)


def test_a_variance_far_from_zero_keeps_its_digits() -> None:
    far = (1e4 + np.random.default_rng(0).standard_normal((100_000, 2))).astype(np.float32)
    np.testing.assert_allclose(value("var", far, 0), far.var(0, dtype=np.float64, ddof=1), rtol=2e-6)


def test_half_precision_is_summed_in_single() -> None:
    ones = np.ones((4096, 2), np.float16)
    np.testing.assert_array_equal(value("sum", ones, 0), [4096, 4096])
    assert value("matmul", ones[:, 0], ones[:, 1]) == 4096
    assert value("cumsum", ones[:, 0], 0)[-1] == 4096


def test_both_forms_of_the_variance() -> None:
    at = array(1, 2, 4)
    assert value("var", at, False) == value("var", at, correction=0) == value("var", at, 0, False) == at.var()
    assert value("std", at, True) == value("std", at) == at.std(ddof=1)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64"])
def test_integers_are_summed_and_multiplied_in_int64(dtype: str) -> None:
    for op in ("sum", "prod", "nansum"):
        assert value(op, np.ones((2, 3), dtype)).dtype == np.int64
    assert value("cumsum", np.ones(300, dtype), 0)[-1] == 300
    assert value("any", np.ones(3, dtype)).dtype == ("uint8" if dtype == "uint8" else "bool")


@pytest.mark.parametrize(
    ("op", "inputs", "told"),
    [
        ("amax", (np.ones((2, 0)), 1), "no elements to choose from"),
        ("max", (np.ones((2, 0)),), "no elements to choose from"),
        ("argmax", (np.ones(0),), "no elements to choose from"),
        ("argmax", (np.ones(2, bool),), "bool"),
        ("mean", (np.ones(2, "int64"),), "a mean of int64"),
        ("var", (np.ones(2, "int64"),), "a variance of int64"),
        ("sum", (np.ones((2, 2)), (0, -2)), "twice"),
        ("cumsum", (np.ones((2, 2)), 2), "out of range"),
    ],
)
def test_refusals(op: str, inputs: tuple[Any, ...], told: str) -> None:
    with pytest.raises(GraphError, match=told) as caught:
        value(op, *inputs)
    assert caught.value.faults[0].hint
