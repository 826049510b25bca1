"""Products of cotangents and the Jacobian: beside gradients with seeds, and beside the Jacobian itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.compile.compile import compile as compile_request
from engine.compile.derivatives.gradients import GradientRequest
from engine.compile.derivatives.jacobian import JacobianRequest
from engine.compile.derivatives.vjp import VjpRequest
from engine.errors import GraphError
from engine.graph.limits import Limits
from engine.graph.types import float64, int64
from engine.program.program import Leaf, Program
from tests.engine.programs import call, given, program

RNG = np.random.default_rng(19)
VALUES = {"x": RNG.standard_normal((3, 4)), "w": RNG.standard_normal((4, 2)), "free": RNG.standard_normal(3)}
CALLS = (
    call("matmul", "x", "w", output="h"),
    call("tanh", "h", output="t"),
    call("sum", "t", output="s", dim=1),
)
COTANGENTS = {"t": RNG.standard_normal((3, 2)), "s": RNG.standard_normal(3)}


def made() -> Program:
    return program(VALUES, *CALLS)


def leaves(values: dict[str, Any]) -> dict[str, Leaf]:
    return {name: Leaf(float64, value.shape) for name, value in values.items()}


def products(vectors: dict[str, Any], **members: Any) -> dict[str, Any]:
    """Return what a vjp gives for the cotangents."""
    compiled = compile_request(made(), VjpRequest(vectors=leaves(vectors), **members), Limits())
    return compiled.run({**given(VALUES), **given(vectors, "vectors")})


def test_it_is_the_gradient_with_the_cotangents_as_seeds() -> None:
    found = products(COTANGENTS, wrt=("x", "w", "h"))
    request = GradientRequest(backward=leaves(COTANGENTS), wrt=("x", "w", "h"), outputs=("t", "s"))
    compiled = compile_request(made(), request, Limits())
    expected = compiled.run({**given(VALUES), **given(COTANGENTS, "backward")})
    assert list(found) == ["outputs", "vjp"]
    for name, gradient in expected["gradients"].items():
        np.testing.assert_array_equal(found["vjp"][name], gradient)
    for name, value in expected["outputs"].items():
        np.testing.assert_array_equal(found["outputs"][name], value)


def test_it_is_the_cotangent_times_the_jacobian() -> None:
    found = products({"t": COTANGENTS["t"]}, wrt=("w",))["vjp"]["w"]
    whole = compile_request(made(), JacobianRequest(outputs=("t",), wrt=("w",)), Limits()).run(given(VALUES))
    expected = np.tensordot(COTANGENTS["t"], whole["jacobian"]["t"]["w"], axes=2)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_vmap_takes_several_cotangents_of_one_output() -> None:
    several = RNG.standard_normal((5, 3))
    found = products({"s": several}, wrt=("x",), vmap={"s": 0})["vjp"]["x"]
    one_by_one = [products({"s": cotangent}, wrt=("x",))["vjp"]["x"] for cotangent in several]
    np.testing.assert_allclose(found, np.stack(one_by_one), rtol=1e-12)


def test_unit_cotangents_give_the_rows_of_the_jacobian() -> None:
    found = products({"s": np.eye(3)}, wrt=("x",), vmap={"s": 0})["vjp"]["x"]
    whole = compile_request(made(), JacobianRequest(outputs=("s",), wrt=("x",)), Limits()).run(given(VALUES))
    np.testing.assert_allclose(found, whole["jacobian"]["s"]["x"], rtol=1e-12)


def test_a_tensor_that_no_output_depends_on_gets_zeros() -> None:
    np.testing.assert_array_equal(products(COTANGENTS, wrt=("free",))["vjp"]["free"], np.zeros(3))


def test_named_tensors_require_no_flag() -> None:
    plain = Program({"x": Leaf(float64, (3,))}, (call("exp", "x", output="y"),), float64)
    compiled = compile_request(plain, VjpRequest(vectors={"y": Leaf(float64, (3,))}, wrt=("x",)), Limits())
    values = {**given({"x": np.zeros(3)}), **given({"y": np.arange(3.0)}, "vectors")}
    np.testing.assert_array_equal(compiled.run(values)["vjp"]["x"], np.arange(3.0))


@pytest.mark.parametrize(
    ("vectors", "wrt", "code", "path"),
    [
        ({}, ("x",), "no_target", ("vectors",)),
        ({"z": Leaf(float64, ())}, ("x",), "unknown_tensor", ("vectors", "z")),
        ({"s": Leaf(float64, (2,))}, ("x",), "shape_mismatch", ("vectors", "s")),
        ({"s": Leaf(float64, (3,))}, ("y",), "unknown_tensor", ("wrt", 0)),
        ({"i": Leaf(int64, (3,))}, ("x",), "dtype", ("vectors", "i")),
    ],
)
def test_faults_have_their_place(vectors: Any, wrt: Any, code: str, path: Any) -> None:
    whole = program({**VALUES, "i": np.arange(3)}, *CALLS)
    with pytest.raises(GraphError) as raised:
        compile_request(whole, VjpRequest(vectors=vectors, wrt=wrt), Limits())
    assert [(fault.code, fault.path) for fault in raised.value.faults] == [(code, path)]
