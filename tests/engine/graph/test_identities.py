"""What no node is made for gives what it reads, bit by bit; what is not the same for all values stays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from engine.compile.compile import compile as compile_request
from engine.compile.derivatives.gradients import GradientRequest
from engine.compile.derivatives.jvp import TangentRequest
from engine.execute.numpy.lowering import plan
from engine.execute.numpy.runner import Runner
from engine.graph.function import Function
from engine.graph.graph import Builder, Tensor, building
from engine.graph.limits import Limits
from engine.graph.op import REGISTRY
from engine.graph.promotion import leaf
from engine.graph.types import DType, float64, int32
from engine.program.program import Leaf, OpCall, Program, Ref

OPS = {name: op.function for name, op in REGISTRY.items()}
VALUES = np.array([[np.nan, -0.0, 0.0], [np.inf, -np.inf, 1.5]])

SAME: dict[str, Callable[[Tensor], Tensor]] = {
    "a product by one": lambda x: x * 1.0,
    "one times it": lambda x: 1.0 * x,
    "a quotient by one": lambda x: x / 1.0,
    "minus minus": lambda x: OPS["neg"](-x),
    "a product by ones": lambda x: x * OPS["expand"](OPS["ones"](1, 1), 2, 3),
}


@pytest.mark.parametrize("name", SAME)
def test_what_gives_what_it_reads_is_left_out(name: str) -> None:
    with building(Builder(Limits())):
        x = leaf(("tensors", "x"), float64, VALUES.shape)
        same = SAME[name](x)
        wanted = [same, OPS["exp"](same)]
    made = plan(Function.of(wanted))
    assert [node.primitive.name for unit in made.units for node in unit.nodes][-1:] == ["exp"]
    found = Runner(made).run({("tensors", "x"): VALUES})
    np.testing.assert_array_equal(np.signbit(found[0]), np.signbit(VALUES))
    np.testing.assert_array_equal(found[0], VALUES)


OPPOSITES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[np.ndarray, np.ndarray], np.ndarray]]] = {
    "a product of an opposite": (lambda x, y: -x * y, lambda x, y: -x * y),
    "a product by an opposite": (lambda x, y: x * -y, lambda x, y: x * -y),
    "a product of opposites": (lambda x, y: -x * -y, lambda x, y: -x * -y),
    "a sum with an opposite": (lambda x, y: x + -y, lambda x, y: x + -y),
    "a sum of an opposite": (lambda x, y: -x + y, lambda x, y: -x + y),
    "a sum of opposites": (lambda x, y: -x + -y, lambda x, y: -x + -y),
    "an opposite twice": (lambda x, y: -x + -x, lambda x, y: -x + -x),
    "a difference to an opposite": (lambda x, y: x - -y, lambda x, y: x - -y),
    "a difference of opposites": (lambda x, y: -x - -y, lambda x, y: -x - -y),
}


@pytest.mark.parametrize("name", OPPOSITES)
@pytest.mark.parametrize("dtype", [float64, int32], ids=str)
def test_signs_are_moved_without_changing_a_bit(name: str, dtype: DType) -> None:
    numbers = [np.nan, -0.0, 0.0, np.inf, -np.inf, 1.5, -3.1, 5e-324] if dtype is float64 else [0, 1, -1, 7, -(2**31)]
    x, y = (array.ravel() for array in np.meshgrid(numbers, numbers))
    values = {"x": x.astype(dtype.numpy), "y": y.astype(dtype.numpy)}
    ours, theirs = OPPOSITES[name]
    with building(Builder(Limits())):
        wanted = ours(*[leaf(("tensors", key), dtype, x.shape) for key in "xy"])
    (found,) = Runner(plan(Function.of([wanted]))).run({("tensors", key): value for key, value in values.items()})
    with np.errstate(all="ignore"):
        expected = theirs(values["x"], values["y"])
    known = ~np.isnan(expected)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.signbit(found[known]), np.signbit(expected[known]))


def test_an_opposite_that_something_is_differentiated_by_keeps_its_gradient() -> None:
    calls = (
        OpCall("neg", (Ref("x"),), {}, "y"),
        OpCall("mul", (Ref("y"), Ref("y")), {}, "z"),
        OpCall("add", (Ref("z"), Ref("y")), {}, "s"),
        OpCall("sum", (Ref("s"),), {}, "l"),
    )
    program = Program({"x": Leaf(float64, (3,), requires_grad=True)}, calls)
    x = np.array([1.0, -2.0, 3.0])
    made = compile_request(program, GradientRequest(wrt=("x", "y", "z")), Limits())
    found = made.run({("tensors", "x"): x})["gradients"]
    np.testing.assert_array_equal(found["y"], 1 - 2 * x)
    np.testing.assert_array_equal(found["x"], 2 * x - 1)
    np.testing.assert_array_equal(found["z"], np.ones(3))


def test_what_becomes_larger_or_changes_stays() -> None:
    with building(Builder(Limits())):
        x = leaf(("tensors", "x"), float64, (3,))
        wanted = [x * OPS["ones"](2, 1), x + 0.0, x * -1.0]
    assert [tensor.node.primitive.name for tensor in wanted] == ["mul", "_add", "mul"]


def test_equals_are_merged_also_with_operands_exchanged() -> None:
    with building(Builder(Limits())):
        x, y = (leaf(("tensors", name), float64, (3,)) for name in "xy")
        product, exchanged, difference, opposite = x * y, y * (x * 1.0), x - y, y - x
    assert product is exchanged
    assert difference is not opposite


def test_ones_that_something_is_differentiated_by_are_factors_like_others() -> None:
    calls = (
        OpCall("ones", ((3,),), {}, "o"),
        OpCall("mul", (Ref("x"), Ref("o")), {}, "y"),
        OpCall("sum", (Ref("y"),), {}, "l"),
    )
    program = Program({"x": Leaf(float64, (3,), requires_grad=True)}, calls)
    request = TangentRequest(tangents={"o": Leaf(float64, (3,))})
    values = {("tensors", "x"): np.arange(3.0), ("tangents", "o"): np.ones(3)}
    assert compile_request(program, request, Limits()).run(values)["tangents"]["l"] == 3.0
