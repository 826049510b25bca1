"""Warnings of branches that are not taken and make the gradient NaN all the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.compile.compile import compile as compile_request
from engine.compile.derivatives.forward import ForwardRequest
from engine.compile.derivatives.gradients import GradientRequest
from engine.compile.derivatives.jacobian import JacobianRequest
from engine.graph.limits import Limits
from engine.graph.samples import Sample
from engine.program.program import OpCall
from tests.engine.check.test_compile import run
from tests.engine.ops.test_laws import CASES
from tests.engine.programs import call, given, program, sample_program, with_outputs

X = np.array([-1.0, 0.0, 0.5, 2.0])


def warnings_of(*calls: OpCall, **values: Any) -> tuple[str, ...]:
    """Return the warnings of the gradient of the last call's sum."""
    name = calls[-1].output
    assert isinstance(name, str)
    made = program({"x": X, **values}, *calls, call("sum", name, output="loss"))
    return compile_request(made, GradientRequest(backward={"loss": None}), Limits()).warnings


def gradient(*calls: OpCall, **values: Any) -> np.ndarray:
    """Return the gradient by x of the last call's sum."""
    name = calls[-1].output
    assert isinstance(name, str)
    known = {"x": X, **values}
    made = program(known, *calls, call("sum", name, output="loss"))
    request = GradientRequest(backward={"loss": None}, outputs=())
    found: np.ndarray = compile_request(made, request, Limits()).run(given(known))["gradients"]["x"]
    return found


POSITIVE = call("gt", "x", 0.0, output="positive")
TRAPS: dict[str, tuple[OpCall, ...]] = {
    "sqrt": (POSITIVE, call("sqrt", "x", output="r"), call("where", "positive", "r", 0.0, output="y")),
    "log": (POSITIVE, call("log", "x", output="r"), call("where", "positive", "r", 0.0, output="y")),
    "reciprocal": (POSITIVE, call("reciprocal", "x", output="r"), call("where", "positive", "r", 0.0, output="y")),
    "quotient": (
        call("ne", "x", 0.0, output="nonzero"),
        call("sin", "x", output="s"),
        call("div", "s", "x", output="r"),
        call("where", "nonzero", "r", 1.0, output="y"),
    ),
    "power": (POSITIVE, call("pow", "x", 0.3, output="r"), call("where", "positive", "r", 0.0, output="y")),
    "the second branch": (
        call("le", "x", 0.0, output="c"),
        call("sqrt", "x", output="r"),
        call("where", "c", 0.0, "r", output="y"),
    ),
    "further ops in the branch": (
        POSITIVE,
        call("sqrt", "x", output="r"),
        call("mul", "r", 3, output="m"),
        call("sin", "m", output="s"),
        call("where", "positive", "s", 0.0, output="y"),
    ),
    "a function of what is tested": (
        call("abs", "x", output="a"),
        call("gt", "a", 0.1, output="far"),
        call("div", 1.0, "x", output="r"),
        call("where", "far", "r", 10.0, output="y"),
    ),
    "several conditions": (
        POSITIVE,
        call("lt", "x", 1.0, output="below"),
        call("logical_and", "positive", "below", output="both"),
        call("log", "x", output="r"),
        call("where", "both", "r", 0.0, output="y"),
    ),
    "masked_fill": (
        call("le", "x", 0.0, output="c"),
        call("log", "x", output="r"),
        call("masked_fill", "r", "c", 0.0, output="y"),
    ),
    "clamped to where the slope is infinite": (
        POSITIVE,
        call("clamp", "x", 0.0, output="k"),
        call("sqrt", "k", output="r"),
        call("where", "positive", "r", 0.0, output="y"),
    ),
}


@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_is_warned_of_and_is_one(name: str) -> None:
    (warning,) = warnings_of(*TRAPS[name])
    assert "'y'" in warning
    assert "'r'" in warning
    assert "where(condition, input, 1)" in warning
    assert np.isnan(gradient(*TRAPS[name])).any()


def test_what_the_warning_advises_mends_it() -> None:
    mended = (
        POSITIVE,
        call("where", "positive", "x", 1.0, output="safe"),
        call("sqrt", "safe", output="r"),
        call("where", "positive", "r", 0.0, output="y"),
    )
    assert warnings_of(*mended) == ()
    np.testing.assert_allclose(gradient(*mended), [0, 0, 0.5 / np.sqrt(0.5), 0.5 / np.sqrt(2)])


HARMLESS: dict[str, tuple[OpCall, ...]] = {
    "a smooth branch": (POSITIVE, call("exp", "x", output="r"), call("where", "positive", "r", 0.0, output="y")),
    "clamped away from zero": (
        POSITIVE,
        call("clamp", "x", 1e-3, output="k"),
        call("sqrt", "k", output="r"),
        call("where", "positive", "r", 0.0, output="y"),
    ),
    "a sum that is positive": (
        POSITIVE,
        call("square", "x", output="s"),
        call("add", "s", 1, output="p"),
        call("log", "p", output="r"),
        call("where", "positive", "r", 0.0, output="y"),
    ),
    "a sigmoid in two parts": (
        POSITIVE,
        call("neg", "x", output="n"),
        call("exp", "n", output="e"),
        call("add", "e", 1, output="d"),
        call("div", 1.0, "d", output="first"),
        call("exp", "x", output="f"),
        call("add", "f", 1, output="g"),
        call("div", "f", "g", output="second"),
        call("where", "positive", "first", "second", output="y"),
    ),
    "another tensor is tested": (
        call("gt", "z", 0.0, output="c"),
        call("sqrt", "x", output="r"),
        call("where", "c", "r", 0.0, output="y"),
    ),
    "both branches have it": (
        POSITIVE,
        call("sqrt", "x", output="r"),
        call("neg", "r", output="n"),
        call("where", "positive", "r", "n", output="y"),
    ),
    "the condition has it": (
        call("log", "x", output="r"),
        call("gt", "r", 0.0, output="c"),
        call("where", "c", "r", 0.0, output="y"),
    ),
    "Huber by hand": (
        call("abs", "x", output="a"),
        call("lt", "a", 1.0, output="c"),
        call("square", "x", output="s"),
        call("mul", "s", 0.5, output="quadratic"),
        call("sub", "a", 0.5, output="linear"),
        call("where", "c", "quadratic", "linear", output="y"),
    ),
    "whole powers": (POSITIVE, call("pow", "x", 3, output="r"), call("where", "positive", "r", 0.0, output="y")),
    "an elu by hand": (
        POSITIVE,
        call("expm1", "x", output="e"),
        call("where", "positive", "x", "e", output="y"),
    ),
    "softplus by hand": (
        call("gt", "x", 20.0, output="c"),
        call("exp", "x", output="e"),
        call("log1p", "e", output="r"),
        call("where", "c", "x", "r", output="y"),
    ),
    "a loss of masked values": (
        call("gt", "x", 0.0, output="c"),
        call("binary_cross_entropy_with_logits", "x", "z", output="l", reduction="none"),
        call("where", "c", "l", 0.0, output="y"),
    ),
    "softmax of masked scores": (
        call("gt", "x", 0.0, output="c"),
        call("masked_fill", "x", "c", -1e9, output="m"),
        call("softmax", "m", 0, output="p"),
        call("log", "p", output="y"),
    ),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_harmless_is_not_warned_of(name: str) -> None:
    assert warnings_of(*HARMLESS[name], z=np.array([0.2, 0.4, 0.6, 0.8])) == ()


@pytest.mark.parametrize(("name", "sample"), CASES)
def test_no_op_on_its_samples_is_warned_of(name: str, sample: Sample) -> None:
    made, values = sample_program(name, sample)
    made = with_outputs(made)
    warnings = compile_request(made, JacobianRequest(outputs=(), wrt=()), Limits()).warnings
    assert [warning for warning in warnings if "they broadcast" not in warning] == []
    assert values or not made.tensors


def test_values_alone_have_no_warnings() -> None:
    made = program({"x": X}, *TRAPS["sqrt"])
    assert compile_request(made, ForwardRequest(), Limits()).warnings == ()


def test_a_trap_fails_the_check_too() -> None:
    assert not run(program({"x": X}, *TRAPS["sqrt"]), {"x": X})["passed"]


def test_many_choices_take_little_time() -> None:
    calls = [POSITIVE]
    before = "x"
    for number in range(600):
        calls.append(call("log", before, output=f"l{number}"))
        calls.append(call("where", "positive", f"l{number}", 0.0, output=f"y{number}"))
        before = f"y{number}"
    assert len(warnings_of(*calls)) == 1
