"""How long a run is likely to take, from shapes alone."""

from __future__ import annotations

import pytest

from engine.compile.compile import compile as compile_request
from engine.compile.derivatives.forward import ForwardRequest
from engine.compile.derivatives.gradients import GradientRequest
from engine.compile.derivatives.hessian import HessianRequest
from engine.compile.estimate import FLOP_S, Estimate, estimate
from engine.compile.request import Request
from engine.graph.limits import Limits
from engine.graph.types import DType, float16, float32, float64, int64
from engine.program.program import Leaf, Program
from tests.engine.programs import call

N, K, M = 64, 96, 32


def product(dtype: DType, times: int = 1) -> Program:
    """The sum of a product's tanh, of matrices that many times as high and wide."""
    return Program(
        {"a": Leaf(dtype, (times * N, times * K), True), "b": Leaf(dtype, (times * K, times * M), True)},
        (call("matmul", "a", "b", output="c"), call("tanh", "c", output="t"), call("sum", "t", output="loss")),
    )


def estimated(program: Program, request: Request | None = None) -> Estimate:
    """The estimate of a program's gradients, or of another request."""
    return estimate(compile_request(program, request or GradientRequest(), Limits()))


@pytest.mark.parametrize("dtype", [float16, float32, float64])
def test_products_forward_and_backward_are_counted_by_what_blas_computes_them_in(dtype: DType) -> None:
    found = estimated(product(dtype))
    three = 3 * 2 * N * K * M
    assert (found.single, found.double) == ((0, three) if dtype is float64 else (three, 0))
    assert found.cost.flops > three


def test_products_of_integers_are_loops() -> None:
    leaves = {"a": Leaf(int64, (N, K), False), "b": Leaf(int64, (K, M), False)}
    found = estimated(Program(leaves, (call("matmul", "a", "b", output="c"),)), ForwardRequest())
    assert (found.single, found.double) == (0, 0)
    assert found.cost.flops == 2 * N * K * M


@pytest.mark.parametrize(("dtype", "less"), [(float32, 4), (float64, 2)])
def test_products_take_a_fraction_of_as_many_operations_in_loops(dtype: DType, less: int) -> None:
    found = estimated(product(dtype, 16))
    assert found.seconds < found.cost.flops * FLOP_S / less


def test_every_run_of_a_plan_counts() -> None:
    program = product(float64)
    hessian = estimated(program, HessianRequest())
    assert hessian.runs > 1
    assert hessian.seconds > estimated(program).seconds
