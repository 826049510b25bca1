"""What the laws cannot hold of products, factors and norms of matrices: singular ones, kinks, strides, refusals."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest

from engine.errors import GraphError, ValueFault
from tests.engine.one_op import gradient, gradients, hessian, of_list, value

RNG = np.random.default_rng(0)
INF = float("inf")
ONES = np.ones((2, 2))


def minor(matrix: np.ndarray, rows: tuple[int, ...], columns: tuple[int, ...]) -> float:
    """Return the determinant of a matrix without some rows and columns."""
    return float(np.linalg.det(np.delete(np.delete(matrix, rows, 0), columns, 1)))


def of_rank(rank: int, size: int = 4) -> np.ndarray:
    return RNG.standard_normal((size, rank)) @ RNG.standard_normal((rank, size))


# Determinants


@pytest.mark.parametrize("rank", [0, 1, 2, 3, 4])
def test_the_gradient_of_a_determinant_is_the_matrix_of_cofactors_at_any_rank(rank: int) -> None:
    matrix = of_rank(rank)
    cofactors = [[(-1) ** (i + j) * minor(matrix, (i,), (j,)) for j in range(4)] for i in range(4)]
    np.testing.assert_allclose(gradient("linalg.det", matrix), cofactors, atol=1e-12)


@pytest.mark.parametrize("rank", [0, 1, 2, 3, 4])
def test_the_second_derivative_of_a_determinant_is_that_of_the_polynomial_at_any_rank(rank: int) -> None:
    matrix = of_rank(rank)
    exact = np.zeros((4, 4, 4, 4))
    for (i, k), (j, m) in ((r, c) for r in combinations(range(4), 2) for c in combinations(range(4), 2)):
        second = (-1) ** (i + j + k + m) * minor(matrix, (i, k), (j, m))
        exact[i, j, k, m] = exact[k, m, i, j] = second
        exact[i, m, k, j] = exact[k, j, i, m] = -second
    np.testing.assert_allclose(hessian("linalg.det", matrix), exact, atol=1e-11)


def test_the_gradient_of_a_determinant_is_exact_at_equal_and_at_infinite_elements() -> None:
    np.testing.assert_array_equal(gradient("det", np.eye(3)), np.eye(3))
    np.testing.assert_allclose(gradient("det", ONES), [[1, -1], [-1, 1]], atol=1e-15)
    assert np.isnan(gradient("det", np.full((2, 2), np.nan))).all()


def test_the_logarithm_of_a_singular_matrix_has_an_infinite_gradient() -> None:
    sign, logarithm = value("linalg.slogdet", ONES, results=2)
    assert (sign, logarithm) == (0, -INF)
    np.testing.assert_array_equal(gradient("linalg.slogdet", ONES, place=1, results=2), [[INF, -INF], [-INF, INF]])
    assert np.isnan(value("logdet", -np.eye(3)))


# Refused values


@pytest.mark.parametrize(
    ("op", "inputs", "told"),
    [
        ("linalg.inv", (ONES,), "the matrix is singular: pivot 2"),
        ("linalg.inv", (np.stack([np.eye(2), ONES]),), r"the matrix at \[1\] of the batch is singular"),
        ("linalg.solve", (ONES, np.ones(2)), "the matrix is singular"),
        ("linalg.cholesky", (-np.eye(2),), "leading minor of order 1"),
        ("linalg.cholesky", (np.stack([np.eye(2), np.diag([1.0, -1])]),), r"at \[1\] of the batch .* order 2"),
        ("linalg.cholesky", (np.full((2, 2), np.nan),), "not positive definite"),
        ("linalg.svdvals", (np.full((2, 2), np.nan),), "could not be found"),
    ],
)
def test_a_refused_value_is_a_fault_of_the_op_that_met_it(op: str, inputs: tuple[Any, ...], told: str) -> None:
    with pytest.raises(ValueFault, match=told) as caught:
        value(op, *inputs)
    assert caught.value.fault.path == ("graph", "ops", 0)
    assert caught.value.fault.hint


@pytest.mark.parametrize(
    ("op", "inputs", "told"),
    [
        ("matmul", (np.ones((2, 3)), np.ones((2, 3))), "3 columns meet 2 rows"),
        ("matmul", (np.ones((2, 3)), np.ones((3, 2), "float32")), "float64 and other float32"),
        ("matmul", (np.ones(()), np.ones(3)), "no dimensions"),
        ("mm", (np.ones((2, 3)), np.ones(3)), "must be a matrix"),
        ("bmm", (np.ones((2, 2, 3)), np.ones((3, 3, 2))), "2 matrices, and mat2 3"),
        ("dot", (np.ones(2), np.ones(3)), "2 and 3 elements"),
        ("addmm", (np.ones((3, 3)), np.ones((2, 3)), np.ones((3, 2))), "does not broadcast|do not broadcast"),
        ("linalg.inv", (np.ones((2, 3)),), "2 by 3; they must be square"),
        ("linalg.inv", (np.ones((2, 2), "float16"),), "float16"),
        ("linalg.det", (np.ones((2, 2), "int64"),), "int64"),
        ("linalg.solve", (np.ones((2, 2)), np.ones((3, 1))), "do not fit the equation A X = B"),
        ("linalg.matrix_norm", (np.ones((2, 2)), 3), "no order of a matrix's norm"),
        ("linalg.vector_norm", (np.ones(0), INF), "no elements"),
        ("linalg.multi_dot", ([],), "two tensors"),
        ("tensordot", (np.ones((2, 3)), np.ones((2, 3)), 1), "size 2"),
    ],
)
def test_refused_types(op: str, inputs: tuple[Any, ...], told: str) -> None:
    with pytest.raises(GraphError, match=told) as caught:
        value(op, *inputs)
    assert caught.value.faults[0].hint


# Equations


@pytest.mark.parametrize(
    "equation",
    ["ij,jk", "ij,jk->ki", "Bi,iB", "...i,ij->...j", "ij,jk->", "i j , j k -> i k", "ij,jk->j", "ij,kl->ijkl"],
)
def test_einsum_is_numpys(equation: str) -> None:
    a, b = RNG.standard_normal((2, 2)), RNG.standard_normal((2, 2))
    np.testing.assert_allclose(value("einsum", a, b, equation=equation), np.einsum(equation, a, b), rtol=1e-12)


def test_einsum_broadcasts_sizes_of_one() -> None:
    a, b = RNG.standard_normal((1, 1)), RNG.standard_normal((3, 2))
    np.testing.assert_allclose(value("einsum", a, b, equation="ij,jk"), a * b.sum(0), rtol=1e-12)


def test_einsum_of_many_operands_takes_them_from_left_to_right() -> None:
    letters = "abcdefghijklmnopqrst"
    factors = [RNG.standard_normal((2, 2)) for _ in letters[1:]]
    equation = ",".join(x + y for x, y in pairwise(letters)) + "->at"
    np.testing.assert_allclose(value("einsum", *factors, equation=equation), np.linalg.multi_dot(factors), rtol=1e-12)
    np.testing.assert_allclose(of_list("linalg.multi_dot", factors), np.linalg.multi_dot(factors), rtol=1e-12)


@pytest.mark.parametrize(
    ("equation", "shapes", "told"),
    [
        ("ij->i", [(2, 3), (2, 3)], "subscripts for 1 operands, and there are 2"),
        ("i1->i", [(2, 3)], "'i1' are no subscripts"),
        ("i.j->ij", [(2, 3)], "no subscripts"),
        ("i", [(2, 3)], "has 2 dimensions"),
        ("ij->ii", [(2, 3)], "'i' stands more than once"),
        ("ij->k", [(2, 3)], "'k' is that of no operand's dimension"),
        ("ii", [(2, 3)], "subscript 'i' has size 3"),
        ("ij,jk", [(2, 3), (2, 3)], "subscript 'j' has size 2"),
        ("ij->i->j", [(2, 3)], "no subscripts"),
    ],
)
def test_equations_that_say_nothing(equation: str, shapes: list[tuple[int, ...]], told: str) -> None:
    with pytest.raises(GraphError, match=told):
        value("einsum", *(np.ones(shape) for shape in shapes), equation=equation)


# Products


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "uint8"])
@pytest.mark.parametrize(
    "shapes", [((4, 3), (3, 2)), ((5, 4, 3), (3, 2)), ((4, 3), (5, 3, 2)), ((5, 1, 4, 3), (2, 3, 1))]
)
def test_products_are_numpys_in_their_own_dtype(dtype: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    a, b = (RNG.integers(0, 5, shape).astype(dtype) for shape in shapes)
    result = value("matmul", a, b)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, np.matmul(a.astype("float64"), b.astype("float64")).astype(dtype))


def test_a_factor_that_is_added_with_weight_zero_may_be_infinite() -> None:
    a, b, c = np.full((2, 2), INF), np.eye(2), ONES
    np.testing.assert_array_equal(value("addmm", a, b, c, beta=0), ONES)
    np.testing.assert_array_equal(gradients("addmm", a, b, c, beta=0)[0], np.zeros((2, 2)))


# Norms


@pytest.mark.parametrize(
    ("op", "arguments", "at", "expected"),
    [
        ("linalg.vector_norm", (2,), [0, 0], [0, 0]),
        ("linalg.vector_norm", (1,), [0, 2], [0, 1]),
        ("linalg.vector_norm", (INF,), [2, -2, 1], [0.5, -0.5, 0]),
        ("linalg.vector_norm", (0.5,), [0, 1], [0, 1]),
        ("linalg.vector_norm", (-1,), [0, 3], [0, 0]),
        ("linalg.vector_norm", (3,), [0, 0], [0, 0]),
        ("norm", (), [0, 0], [0, 0]),
        ("linalg.norm", (), [0, 0], [0, 0]),
    ],
)
def test_gradients_of_norms_at_kinks(
    op: str, arguments: tuple[Any, ...], at: list[float], expected: list[float]
) -> None:
    np.testing.assert_array_equal(gradient(op, np.array(at, "float64"), *arguments), expected)


def test_the_number_of_elements_has_no_gradient() -> None:
    assert gradient("linalg.vector_norm", np.array([0.0, 2.0]), 0) is None


@pytest.mark.parametrize("scale", [1e-320, 1e-200, 1.0, 1e200, 1e307])
@pytest.mark.parametrize("order", [0.5, 2, 3])
def test_norms_neither_overflow_nor_vanish(scale: float, order: float) -> None:
    at = np.array([3.0, 4.0]) * scale
    exact = np.sum(np.array([0.75, 1.0]) ** order) ** (1 / order) * at[1]
    np.testing.assert_allclose(value("linalg.vector_norm", at, order), exact, rtol=1e-3 if scale < 1e-300 else 1e-14)
    assert np.isfinite(gradient("linalg.vector_norm", at, order)).all()


def test_the_norm_of_singular_values_has_a_gradient_where_they_are_equal() -> None:
    np.testing.assert_allclose(gradient("linalg.matrix_norm", np.eye(2), 2), np.eye(2) / 2, atol=1e-15)
    np.testing.assert_allclose(gradient("linalg.matrix_norm", np.eye(2), ord="nuc"), np.eye(2), atol=1e-15)


# Factors


def test_cholesky_takes_the_symmetric_part_and_has_a_symmetric_gradient() -> None:
    lopsided = np.array([[4.0, 1.0], [3.0, 5.0]])
    even = (lopsided + lopsided.T) / 2
    np.testing.assert_array_equal(value("linalg.cholesky", lopsided), np.linalg.cholesky(even))
    found = gradient("linalg.cholesky", lopsided)
    np.testing.assert_allclose(found, found.T, rtol=1e-14)


@pytest.mark.parametrize("batch", [(), (3,), (40,)])
@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("unit", [False, True])
def test_triangular_systems_in_small_and_in_large_batches(batch: tuple[int, ...], upper: bool, unit: bool) -> None:
    a = RNG.standard_normal((*batch, 4, 4)) + 4 * np.eye(4)
    b = RNG.standard_normal((*batch, 4, 2))
    triangle = np.triu(a) if upper else np.tril(a)
    if unit:
        triangle = triangle * (1 - np.eye(4)) + np.eye(4)
    found = value("linalg.solve_triangular", a, b, upper=upper, unitriangular=unit)
    np.testing.assert_allclose(found, np.linalg.solve(triangle, b), rtol=1e-9)
