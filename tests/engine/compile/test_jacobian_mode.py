"""The mode of a Jacobian that names none: the one that is predicted to take less time, with the same results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import pytest

from engine.compile.compile import compile as compile_request
from engine.compile.compiled import Compiled
from engine.compile.derivatives.jacobian import JacobianRequest
from engine.compile.estimate import estimate
from engine.errors import GraphError
from engine.graph.limits import Limits
from engine.program.program import OpCall
from tests.engine.programs import call, given, program

RNG = np.random.default_rng(11)


class Case(NamedTuple):
    """A program, its values and the members of the request; `mode` is the cheaper one."""

    values: Mapping[str, Any]
    calls: tuple[OpCall, ...]
    members: Mapping[str, Any]
    mode: Literal["rows", "columns"]


def layers(*outer: OpCall) -> tuple[OpCall, ...]:
    """Calls of which all but `outer` depend on the shared input `a` alone."""
    return (
        call("outer", "a", "a", output="o"),
        call("matmul", "o", "m", output="k"),
        call("tanh", "k", output="t"),
        call("matmul", "t", "m", output="h"),
        call("sum", "h", output="r", dim=1),
        *outer,
    )


MATRIX, SHARED = RNG.standard_normal((26, 26)), RNG.standard_normal(26)
SAMPLES = {"m": MATRIX, "a": SHARED, "x": RNG.standard_normal((200, 2)), "p": RNG.standard_normal((2, 26))}
MIXED = (call("matmul", "x", "p", output="z"), call("mul", "z", "r", output="q"), call("tanh", "q", output="y"))

CASES = {
    "26 of 28 columns are of an input that samples share": Case(
        SAMPLES, layers(*MIXED), {"outputs": ("y",), "wrt": ("a", "x"), "vmap": {"x": 0}}, "columns"
    ),
    "a scalar of many elements": Case(
        {"a": SHARED, "m": MATRIX},
        layers(call("sum", "r", output="s")),
        {"outputs": ("s",), "wrt": ("a", "m")},
        "rows",
    ),
    "many elements of a scalar": Case(
        {"x": np.float64(2), "m": MATRIX},
        (call("mul", "x", "m", output="k"), call("exp", "k", output="y")),
        {"outputs": ("y",), "wrt": ("x",)},
        "columns",
    ),
    "one costly column beside many cheap ones, more of them than there are rows": Case(
        {"a": np.float64(0.5), "m": RNG.standard_normal((60, 60)), "b": RNG.standard_normal(40)},
        (
            call("mul", "m", "a", output="k"),
            call("matmul", "k", "k", output="k2"),
            call("matmul", "k2", "k2", output="k4"),
            call("sum", "k4", output="t", dim=1),
            call("narrow", "t", 0, 0, 30, output="n"),
            call("sum", "b", output="c"),
            call("mul", "n", "c", output="y"),
        ),
        {"outputs": ("y",), "wrt": ("a", "b")},
        "columns",
    ),
}


def compiled(case: Case, mode: Any, limits: Limits | None = None) -> Compiled:
    """Compile a case in a mode."""
    return compile_request(
        program(case.values, *case.calls), JacobianRequest(mode=mode, **case.members), limits or Limits()
    )


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_it_is_the_mode_that_is_predicted_to_take_less_time(case: Case) -> None:
    chosen, reverse, forward = (compiled(case, mode) for mode in ("auto", "reverse", "forward"))
    seconds = {"rows": estimate(reverse).seconds, "columns": estimate(forward).seconds}
    assert min(seconds, key=lambda axis: seconds[axis]) == case.mode
    assert estimate(chosen).seconds == seconds[case.mode]
    assert {block.axis for execution in chosen.executions for block in execution.blocks} == {case.mode}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_results_are_those_of_either_mode(case: Case) -> None:
    chosen, reverse, forward = (
        compiled(case, mode).run(given(case.values))["jacobian"] for mode in ("auto", "reverse", "forward")
    )
    for output, blocks in chosen.items():
        for wrt, block in blocks.items():
            np.testing.assert_allclose(block, reverse[output][wrt], rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(block, forward[output][wrt], rtol=1e-9, atol=1e-12)


def test_a_mode_over_a_limit_leaves_the_other() -> None:
    case = CASES["26 of 28 columns are of an input that samples share"]
    fewest = {mode: fewest_nodes(case, mode) for mode in ("forward", "reverse")}
    assert fewest["forward"] != fewest["reverse"]
    assert compiled(case, "auto", Limits(nodes=min(fewest.values()))).executions
    with pytest.raises(GraphError):
        compiled(case, "auto", Limits(nodes=min(fewest.values()) - 1))


def fewest_nodes(case: Case, mode: Any) -> int:
    """Return the fewest nodes that a mode can be compiled with."""
    low, high = 1, 10_000
    while low < high:
        middle = (low + high) // 2
        try:
            compiled(case, mode, Limits(nodes=middle))
            high = middle
        except GraphError:
            low = middle + 1
    return low
