"""detect_anomaly: the op that makes something infinite of finite values is named, in the pass where it happens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.compile.compile import compile as compile_request
from engine.compile.derivatives.gradients import GradientRequest
from engine.compile.derivatives.jacobian import JacobianRequest
from engine.compile.derivatives.jvp import TangentRequest
from engine.errors import Fault, ValueFault
from engine.graph.limits import Limits
from engine.program.program import OpCall
from tests.engine.programs import call, given, program


def fault(values: dict[str, Any], *calls: OpCall, **members: Any) -> Fault:
    """Return what detect_anomaly says of a program's gradients."""
    compiled = compile_request(program(values, *calls), GradientRequest(detect_anomaly=True, **members), Limits())
    with pytest.raises(ValueFault) as caught:
        compiled.run(given(values))
    return caught.value.fault


def test_a_result_that_is_not_finite_is_named_with_the_ranges_of_its_inputs() -> None:
    found = fault(
        {"x": [4.0, 0.0, 1.0]},
        call("mul", "x", 2, output="twice"),
        call("log", "twice", output="logs"),
        call("sum", "logs", output="loss"),
    )
    assert found.path == ("graph", "ops", 1)
    assert found.code == "not_finite"
    assert found.detail == "log: its result is not finite (forward pass), from finite values: twice in [0.0, 8.0]"
    assert "clamp" in found.hint


def test_a_gradient_that_is_not_finite_is_named_in_the_backward_pass() -> None:
    found = fault({"x": [4.0, 0.0]}, call("sqrt", "x", output="roots"), call("sum", "roots", output="loss"))
    assert found.path == ("graph", "ops", 0)
    assert found.detail == (
        "sqrt: the gradient that it passes back is not finite (backward pass), from finite values: "
        "x in [0.0, 4.0], roots in [0.0, 2.0]"
    )
    assert "before it" in found.hint


def test_of_two_ops_that_read_one_tensor_the_one_at_fault_is_named() -> None:
    found = fault(
        {"x": [4.0, 0.0]},
        call("sqrt", "x", output="roots"),
        call("exp", "x", output="grown"),
        call("mul", "roots", "grown", output="both"),
        call("sum", "both", output="loss"),
    )
    assert found.path == ("graph", "ops", 0)


def test_the_first_op_in_backward_order_is_named() -> None:
    found = fault(
        {"x": [1.0, 0.0]},
        call("square", "x", output="squares"),
        call("sqrt", "squares", output="sizes"),
        call("mul", "sizes", 3, output="scaled"),
        call("sum", "scaled", output="loss"),
    )
    assert found.path == ("graph", "ops", 1)


def test_the_trap_of_where_is_found_at_the_branch_that_is_not_taken() -> None:
    found = fault(
        {"x": [1.0, 0.0]},
        call("gt", "x", 0.0, output="positive"),
        call("sqrt", "x", output="roots"),
        call("where", "positive", "roots", 0.0, output="safe"),
        call("sum", "safe", output="loss"),
    )
    assert found.path == ("graph", "ops", 1)
    assert "backward" in found.detail


def test_a_rule_may_mask_what_is_not_finite_inside() -> None:
    """The derivative of a power by its exponent has log 0 in it, masked where it does not matter."""
    values = {"x": [0.0, 2.0], "n": [2.0, 3.0]}
    made = program(values, call("pow", "x", "n", output="powers"), call("sum", "powers", output="loss"))
    compiled = compile_request(made, GradientRequest(detect_anomaly=True), Limits())
    found = compiled.run(given(values))["gradients"]
    np.testing.assert_allclose(found["n"], [0, 8 * np.log(2)])


def test_values_that_were_given_are_nobodys_fault() -> None:
    values = {"x": [np.inf, 1.0]}
    made = program(values, call("sqrt", "x", output="roots"), call("sum", "roots", output="loss"))
    compiled = compile_request(made, GradientRequest(detect_anomaly=True), Limits())
    assert compiled.run(given(values))["outputs"]["loss"] == np.inf


def test_it_finds_the_op_under_vmap_and_between_checkpoints() -> None:
    calls = (
        call("exp", "x", output="a"),
        call("sub", "a", 1.0, output="b"),
        call("sqrt", "b", output="c"),
        call("sum", "c", output="loss"),
    )
    values = {"x": np.array([[1.0, 2.0], [0.0, 1.0]])}
    assert fault(values, *calls, vmap={"x": 0}).path == ("graph", "ops", 2)
    assert fault(values, *calls, checkpoint=("a",)).path == ("graph", "ops", 2)


def test_results_that_nobody_wants_are_not_looked_at() -> None:
    values = {"x": [0.0]}
    made = program(
        values, call("log", "x", output="unused"), call("exp", "x", output="y"), call("sum", "y", output="s")
    )
    request = GradientRequest(detect_anomaly=True, backward={"s": None}, outputs=("s",))
    assert compile_request(made, request, Limits()).run(given(values))["gradients"]["x"] == [1.0]


def test_other_derivatives_look_at_the_forward_pass() -> None:
    values = {"x": [0.0]}
    made = program(values, call("log", "x", output="y"))
    requests = (
        JacobianRequest(detect_anomaly=True),
        TangentRequest(detect_anomaly=True, tangents={"x": made.tensors["x"]}),
    )
    for request in requests:
        compiled = compile_request(made, request, Limits())
        with pytest.raises(ValueFault) as caught:
            compiled.run({**given(values), **given(values, "tangents")})
        assert caught.value.fault.path == ("graph", "ops", 0)


def test_a_normal_run_has_no_watches_and_an_anomalous_one_the_same_results() -> None:
    values = {"x": np.linspace(0.1, 1, 5)}
    made = program(values, call("log", "x", output="y"), call("sum", "y", output="s"))
    plain, watched = (compile_request(made, GradientRequest(detect_anomaly=flag), Limits()) for flag in (False, True))
    assert all(execution.watches is None for execution in plain.executions)
    assert all(execution.watches for execution in watched.executions)
    results = [compiled.run(given(values))["gradients"]["x"] for compiled in (plain, watched)]
    np.testing.assert_array_equal(*results)
    assert len(plain.executions[0].plan.outputs) == 2
