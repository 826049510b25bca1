"""check: right gradients pass, wrong rules are found, kinks are told from faults."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from engine.check import compile as check_module
from engine.check.compile import compile_check
from engine.check.run import Check, CheckRequest
from engine.compile.compile import compile as compile_request
from engine.compile.derivatives.gradients import GradientRequest
from engine.errors import DeadlineExceeded, GraphError, ValueFault
from engine.graph.limits import Limits
from engine.graph.samples import Sample
from engine.graph.types import float64
from engine.ops.elementwise import arithmetic, exponential
from engine.program.program import Leaf, OpCall, Program, Ref
from engine.program.trace import trace
from tests.engine.ops.test_laws import CASES
from tests.engine.programs import call, given, program, sample_program, with_outputs
from tests.engine.wrong_rules import OPS, WRONG


def checked(values: Mapping[str, Any], *calls: OpCall, seed: int = 0, **members: Any) -> dict[str, Any]:
    """Return the check of a program whose one output is summed with random weights."""
    made = program(values, *calls)
    return run(made, values, seed=seed, **members)


def run(made: Program, values: Mapping[str, Any], seed: int = 0, **members: Any) -> dict[str, Any]:
    """Return the check of a program."""
    traced = trace(made, Limits())
    names = [name for name in traced.unconsumed() if traced.names[name].requires_grad]
    roots = {name: Leaf(traced.names[name].dtype, traced.names[name].shape) for name in names}
    seeds = {name: np.random.default_rng(1).uniform(0.5, 1.5, root.shape) for name, root in roots.items()}
    compiled = compile_check(made, CheckRequest(**{"backward": roots, **members}), Limits())
    found = compiled.run({**given(values), **given(seeds, "backward")}, seed=seed)
    json.dumps(found)  # plain data
    return found


# Right rules


@pytest.mark.parametrize(("name", "sample"), CASES)
def test_every_sample_of_every_op_passes(name: str, sample: Sample) -> None:
    made, values = sample_program(name, sample)
    made = with_outputs(made)
    traced = trace(made, Limits())
    if not any(traced.names[key].requires_grad for key in traced.unconsumed()):
        return
    found = run(made, values)
    assert found["passed"], found
    assert found["dot_product"]["passed"]


# Wrong rules


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_rule_is_found_and_the_right_one_passes(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant = WRONG[fault]
    assert checked(plant.values, plant.call)["passed"]
    if plant.position is None:
        monkeypatch.setattr(plant.primitive, "joint", plant.rule)
    else:
        monkeypatch.setitem(plant.primitive.rules, plant.position, plant.rule)
    found = checked(plant.values, plant.call)
    assert not found["passed"]
    failed = [name for name, report in found["inputs"].items() if not report["passed"]]
    assert failed
    worst = found["inputs"][failed[0]]["largest_absolute"]
    assert worst["difference"] == pytest.approx(abs(worst["gradient"] - worst["numeric"]))
    assert len(worst["index"]) == np.ndim(plant.values[failed[0]])


def test_there_are_twenty_wrong_rules_at_least() -> None:
    assert len(WRONG) >= 20


def test_the_worst_element_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    plant = WRONG["one element of many"]
    monkeypatch.setitem(plant.primitive.rules, 0, plant.rule)
    report = checked(plant.values, plant.call)["inputs"]["x"]
    assert report["failed"] == 1
    assert report["largest_absolute"]["index"] == report["largest_relative"]["index"] == [11]
    assert report["largest_absolute"]["gradient"] == 0
    assert report["largest_absolute"]["numeric"] == pytest.approx(-np.random.default_rng(1).uniform(0.5, 1.5, 12)[11])
    assert report["largest_relative"]["difference"] == pytest.approx(1)


def test_tangents_that_disagree_with_gradients_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    plant = WRONG["a sum from the wrong end"]
    monkeypatch.setitem(plant.primitive.rules, 0, plant.rule)
    product = checked(plant.values, plant.call)["dot_product"]
    assert not product["passed"]
    assert product["difference"] == pytest.approx(abs(product["tangent"] - product["cotangent"]))


def test_gradients_that_cancel_to_nothing_pass() -> None:
    """The sum of a softmax is 1: what is left of its gradients is rounding."""
    values = {"x": [1.0, 2.0, 3.0]}
    made = program(values, call("softmax", "x", 0, output="p"), call("sum", "p", output="y"))
    for seed in range(5):
        assert compile_check(made, CheckRequest(), Limits()).run(given(values), seed=seed)["passed"]


# Kinks and values that are not finite


KINKS: dict[str, tuple[list[float], OpCall, int]] = {
    "relu": ([-1.0, 0.0, 1.0, 0.0], call("relu", "x", output="y"), 2),
    "abs": ([-1.0, 0.0, 1.0], call("abs", "x", output="y"), 1),
    "leaky_relu": ([0.0, 2.0], call("leaky_relu", "x", output="y"), 1),
    "clamp at its bound": ([0.5, 0.25], call("clamp", "x", -0.5, 0.5, output="y"), 1),
    "a tie of extrema": ([2.0, 1.0, 2.0], call("amax", "x", output="y"), 2),
    "sign jumps": ([0.0, 1.0], call("sign", "x", output="y"), 1),
    "the root of zero": ([0.0, 4.0], call("sqrt", "x", output="y"), 1),
    "the edge of the domain": ([0.0, 1.0], call("pow", "x", 1.5, output="y"), 1),
}


@pytest.mark.parametrize("name", KINKS)
def test_a_kink_is_no_failure(name: str) -> None:
    x, kinked, count = KINKS[name]
    found = checked({"x": x}, kinked)
    report = found["inputs"]["x"]
    assert report["passed"], report
    assert report["kinks"] == count
    assert len(report["at_kinks"]) == count
    for kink in report["at_kinks"]:
        assert kink["left"] != kink["right"] or name == "sign jumps"


def test_a_gradient_outside_of_both_slopes_fails_at_a_kink(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(arithmetic.abs.rules, 0, lambda g, out, x: g * (arithmetic.sign(x) + OPS["eq"](x, 0.0) * 3.0))
    report = checked({"x": [-1.0, 0.0]}, call("abs", "x", output="y"))["inputs"]["x"]
    assert not report["passed"]
    assert report["largest_absolute"]["index"] == [1]


def test_a_kink_near_by_is_none() -> None:
    report = checked({"x": [1e-5, -1e-6]}, call("relu", "x", output="y"))["inputs"]["x"]
    assert (report["passed"], report["kinks"]) == (True, 0)


def test_a_gradient_that_is_not_a_number_fails() -> None:
    found = checked(
        {"x": [0.0, 1.0]},
        call("gt", "x", 0.5, output="large"),
        call("div", 1.0, "x", output="inverse"),
        call("where", "large", "inverse", 0.0, output="y"),
    )
    report = found["inputs"]["x"]
    assert not report["passed"]
    assert report["largest_absolute"]["index"] == [0]
    assert not found["dot_product"]["passed"]


def test_a_function_that_is_not_finite_fails() -> None:
    found = checked({"x": [0.0, 1.0]}, call("log", "x", output="y"))
    assert not found["passed"]
    assert not found["finite"]
    assert found["inputs"]["x"]["failed"] == 2
    assert not checked({"x": [0.0, 1.0]}, call("log", "x", output="y"), wrt=())["passed"]


def test_values_that_an_op_refuses_near_by_are_left_out() -> None:
    """A probability of 1 cannot be moved up: the slope on the other side is what there is to compare."""
    values = {"p": [1.0, 0.3, 0.0, 0.6], "t": [1.0, 0.0, 0.0, 1.0]}
    found = checked(values, call("binary_cross_entropy", "p", "t", output="y", reduction="none"), wrt=("p",))
    assert found["inputs"]["p"]["passed"], found
    assert found["inputs"]["p"]["kinks"] == 2


# Complex steps


def test_analytic_functions_are_held_against_complex_steps() -> None:
    values = {
        "x": np.random.default_rng(3).uniform(0.5, 2, (3, 4)),
        "w": np.random.default_rng(4).uniform(1, 2, (4, 2)),
    }
    calls = (
        call("matmul", "x", "w", output="z"),
        call("tanh", "z", output="h"),
        call("div", "h", "z", output="q"),
        call("log", "q", output="y"),
    )
    found = checked(values, *calls)
    assert found["passed"]
    for report in found["inputs"].values():
        assert report["method"] == "complex step"
        assert report["largest_relative"]["difference"] < 1e-14


@pytest.mark.parametrize("name", KINKS)
def test_functions_with_kinks_are_held_against_differences(name: str) -> None:
    x, kinked, _ = KINKS[name]
    assert checked({"x": x}, kinked)["inputs"]["x"]["method"] == "central differences"


def test_one_wrong_element_of_those_that_are_not_moved_alone_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_module, "WORK", 1)
    x = {"x": np.linspace(0.0, 1.0, 20_000)}
    right = checked(x, call("exp", "x", output="y"))["inputs"]["x"]
    assert right["direction"]["passed"]
    wrong = lambda g, out, x: g * OPS["where"](OPS["ge"](x, 1.0), 0.0, out)  # noqa: E731
    monkeypatch.setitem(exponential.exp.rules, 0, wrong)
    found = checked(x, call("exp", "x", output="y"))["inputs"]["x"]
    assert (found["passed"], found["failed"], found["direction"]["passed"]) == (False, 0, False)


def test_every_sample_has_its_direction() -> None:
    values = {"x": np.random.default_rng(4).uniform(0.5, 1.5, (3, 4))}
    calls = (call("log", "x", output="l"), call("sum", "l", output="y"))
    found = compile_check(program(values, *calls), CheckRequest(vmap={"x": 0}), Limits()).run(given(values))
    direction = found["inputs"]["x"]["direction"]
    assert direction["passed"]
    assert direction["difference"] == abs(direction["gradient"] - direction["numeric"])


def test_a_new_elementwise_op_has_complex_steps_and_no_warnings() -> None:
    """asinh is one file: whatever else the engine needs to know of it is declared there."""
    x = {"x": [-3.0, -0.5, 0.0, 2.0]}
    report = checked(x, call("asinh", "x", output="y"))["inputs"]["x"]
    assert (report["method"], report["failed"]) == ("complex step", 0)
    calls = (
        call("gt", "x", 0.0, output="positive"),
        call("asinh", "x", output="a"),
        call("where", "positive", "a", 0.0, output="y"),
        call("sum", "y", output="loss"),
    )
    request = GradientRequest(backward={"loss": None})
    assert compile_request(program(x, *calls), request, Limits()).warnings == ()


def test_a_step_of_one_s_own_is_that_of_differences() -> None:
    report = checked({"x": [1.0, 2.0]}, call("exp", "x", output="y"), eps=1e-3)["inputs"]["x"]
    assert report["method"] == "central differences"


def test_what_complex_steps_find_wrong_is_judged_by_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(exponential.exp.rules, 0, lambda g, out, x: g * out * (1 + 1e-4))
    report = checked({"x": [1.0, 2.0]}, call("exp", "x", output="y"))["inputs"]["x"]
    assert (report["method"], report["failed"]) == ("central differences", 2)


def test_a_kernel_that_gives_no_complex_numbers_is_left_to_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic.abs, "analytic", True)
    found = checked({"x": [-1.0, 2.0]}, call("abs", "x", output="y"))
    assert (found["passed"], found["inputs"]["x"]["method"]) == (True, "central differences")


def test_constants_of_any_kind_may_stand_beside_what_is_moved() -> None:
    values = {"x": np.array([1.0, 2.0]), "c": np.array([-1.0, 3.0])}
    calls = (call("relu", "c", output="r"), call("mul", "x", "r", output="p"), call("exp", "p", output="y"))
    assert checked(values, *calls, wrt=("x",))["inputs"]["x"]["method"] == "complex step"


def test_complex_steps_that_take_too_much_memory_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_module, "COMPLEX_ROOM", 100)
    report = checked({"x": np.ones(20)}, call("exp", "x", output="y"))["inputs"]["x"]
    assert (report["passed"], report["method"]) == (True, "central differences")


def test_a_deadline_ends_complex_steps_too() -> None:
    made = program({"x": [1.0]}, call("exp", "x", output="e"), call("sum", "e", output="y"))
    (moved,) = compile_check(made, CheckRequest(), Limits()).moved
    assert moved.complex is not None
    with pytest.raises(DeadlineExceeded):
        moved.complex.derivatives({}, 0.0)


# What it works on


def test_single_precision_is_checked_in_double() -> None:
    found = checked({"x": np.linspace(0.5, 2, 7, dtype=np.float32)}, call("log", "x", output="y"))
    assert found["passed"]
    assert found["inputs"]["x"]["largest_absolute"]["difference"] < 1e-9


def test_an_op_that_insists_on_single_precision_is_checked_with_larger_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"x": np.random.default_rng(2).uniform(0.5, 2, (3, 3)).astype(np.float32)}
    narrow = (
        call("sum", "x", output="rows", dim=0, dtype="float32"),
        call("exp", "rows", output="grown"),
        call("matmul", "x", "grown", output="y"),
    )
    assert checked(values, *narrow)["passed"]
    monkeypatch.setitem(exponential.exp.rules, 0, lambda g, out, x: g * x)
    assert not checked(values, *narrow)["passed"]


def test_intermediate_results_and_inputs_that_depend_on_each_other() -> None:
    calls = (call("square", "x", output="s"), call("mul", "s", "x", output="y"))
    found = checked({"x": [1.0, 2.0]}, *calls, wrt=("x", "s"))
    assert found["passed"]
    assert set(found["inputs"]) == {"x", "s"}


def test_what_no_root_depends_on_has_no_slope() -> None:
    found = checked({"x": [1.0], "z": [2.0]}, call("exp", "x", output="y"))
    assert found["passed"]
    assert found["inputs"]["z"]["largest_absolute"]["gradient"] == 0


def test_detached_values_are_constants_for_differences_too() -> None:
    found = checked({"x": [1.0, 2.0]}, call("detach", "x", output="d"), call("mul", "d", "x", output="y"))
    assert found["passed"]
    hidden = OpCall("exp", (Ref("x"),), {}, "e", no_grad=True)
    assert checked({"x": [1.0, 2.0]}, hidden, call("mul", "e", "x", output="y"))["passed"]


def test_random_ops_draw_the_same_for_every_difference() -> None:
    found = checked({"x": np.ones(20)}, call("dropout", "x", 0.5, output="d"), call("square", "d", output="y"), seed=3)
    assert found["passed"]


def test_vmap_checks_every_sample() -> None:
    values = {"x": np.random.default_rng(4).uniform(0.5, 1.5, (3, 4)), "w": np.ones(4)}
    calls = (call("mul", "x", "w", output="m"), call("log", "m", output="l"), call("sum", "l", output="y"))
    compiled = compile_check(program(values, *calls), CheckRequest(vmap={"x": 0}), Limits())
    found = compiled.run(given(values))
    assert found["passed"]
    report = found["inputs"]["w"]
    assert (report["elements"], report["checked"]) == (12, 12)
    assert len(report["largest_absolute"]["index"]) == 2


def test_vmap_finds_the_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = lambda g, out, x: g * OPS["where"](OPS["gt"](x, 2.0), 0.0, out)  # noqa: E731
    monkeypatch.setitem(exponential.exp.rules, 0, wrong)
    values = {"x": np.array([[0.0, 1.0], [1.0, 2.5], [1.5, 0.5]])}
    calls = (call("exp", "x", output="e"), call("sum", "e", output="y"))
    compiled = compile_check(program(values, *calls), CheckRequest(vmap={"x": 0}), Limits())
    report = compiled.run(given(values))["inputs"]["x"]
    assert report["failed"] == 1
    assert report["largest_absolute"]["index"] == [1, 1]


def test_checkpoints_change_nothing() -> None:
    calls = (call("exp", "x", output="e"), call("sin", "e", output="s"), call("square", "s", output="y"))
    assert checked({"x": [0.1, 0.2]}, *calls, checkpoint=("e",))["passed"]


def test_of_a_large_tensor_some_elements_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_module, "WORK", 1)
    values = {"x": np.linspace(0, 1, 5000)}
    first, again, other = (checked(values, call("sin", "x", output="y"), seed=seed) for seed in (1, 1, 2))
    assert first["inputs"]["x"]["elements"] == 5000
    assert first["inputs"]["x"]["checked"] == check_module.FEWEST
    assert first == again
    assert first["inputs"]["x"]["largest_absolute"] != other["inputs"]["x"]["largest_absolute"]


def test_many_elements_take_little_memory() -> None:
    values = {"x": np.linspace(0, 1, 100_000)}
    made = program(values, call("sin", "x", output="s"), call("sum", "s", output="y"))
    compiled = compile_check(made, CheckRequest(), Limits())
    assert isinstance(compiled, Check)
    assert compiled.peak_bytes < 2 * check_module.ROOM
    assert compiled.run(given(values))["passed"]


def test_a_tensor_without_elements_passes() -> None:
    report = checked({"x": np.zeros((0, 3))}, call("exp", "x", output="y"))["inputs"]["x"]
    assert (report["passed"], report["checked"], report["largest_absolute"]) == (True, 0, None)


def test_the_step_and_the_tolerances_can_be_given() -> None:
    x = {"x": [1.0, 2.0]}
    curved = call("exp", "x", output="y")
    coarse = checked(x, curved, eps=0.5)["inputs"]["x"]["largest_absolute"]["difference"]
    fine = checked(x, curved, eps=1e-3)["inputs"]["x"]["largest_absolute"]["difference"]
    assert fine < coarse
    assert not checked({"x": [1.0]}, call("abs", "x", output="a"), call("pow", "a", 2.5, output="y"), rtol=-1.0)[
        "passed"
    ]


@pytest.mark.parametrize("eps", [1e-12, 1e-300])
def test_a_step_that_would_be_lost_beside_an_element_is_made_larger(eps: float) -> None:
    """The difference of x and 1e20 is 0 with no rounding error in sight: only the step tells that nothing moved."""
    x = {"x": np.array([1.0, 1e20]), "c": np.array([1.0, 1e20])}
    report = checked(x, call("sub", "x", "c", output="y"), wrt=("x",), eps=eps)["inputs"]["x"]
    assert report["passed"]
    assert report["largest_relative"]["difference"] < 1e-6


def test_an_input_of_which_nothing_can_be_compared_does_not_pass() -> None:
    found = checked({"x": [0.0]}, call("add", "x", 1e20, output="y"), eps=1e-3)
    assert (found["passed"], found["inputs"]["x"]["unresolved"]) == (False, 1)


def test_a_slope_of_zero_is_compared_however_large_the_value() -> None:
    values = {"x": [-1.0, 2.0], "c": [1e6, 1e6]}
    found = checked(values, call("relu", "x", output="r"), call("add", "r", "c", output="y"))
    assert (found["passed"], found["inputs"]["x"]["unresolved"]) == (True, 0)


def test_no_sample_at_all_passes() -> None:
    values = {"x": np.zeros((0, 3))}
    made = program(values, call("exp", "x", output="e"), call("sum", "e", output="y"))
    found = compile_check(made, CheckRequest(vmap={"x": 0}), Limits()).run(given(values))
    assert (found["passed"], found["inputs"]["x"]["elements"]) == (True, 0)


def test_a_scalar_needs_no_seed_and_faults_are_those_of_gradients() -> None:
    values = {"x": [1.0, 2.0]}
    scalar = program(values, call("square", "x", output="s"), call("sum", "s", output="y"))
    compiled = compile_check(scalar, CheckRequest(), Limits())
    assert compiled.run(given(values))["passed"]
    assert [node["name"] for node in compiled.dag["nodes"]] == ["x", "s", "y"]
    assert compiled.warnings == ()
    with pytest.raises(GraphError, match="needs a seed"):
        compile_check(program(values, call("square", "x", output="s")), CheckRequest(backward={"s": None}), Limits())
    with pytest.raises(GraphError, match="no tensor"):
        compile_check(scalar, CheckRequest(wrt=("z",)), Limits())


def test_accumulated_gradients_are_left_out() -> None:
    values = {"x": [1.0, 2.0]}
    made = program(values, call("square", "x", output="s"), call("sum", "s", output="y"))
    request = CheckRequest(accumulate={"x": made.tensors["x"]})
    assert compile_check(made, request, Limits()).run(given(values))["passed"]
    with pytest.raises(GraphError, match="no gradient of 'y'"):
        compile_check(made, CheckRequest(accumulate={"y": Leaf(float64, ())}), Limits())


def test_what_no_root_depends_on_is_refused_where_that_is_asked_for() -> None:
    values = {"x": [1.0], "z": [2.0]}
    made = program(values, call("exp", "x", output="e"), call("sum", "e", output="y"))
    with pytest.raises(GraphError, match="no root depends on 'z'"):
        compile_check(made, CheckRequest(unreached="error"), Limits())


def test_anomalies_are_looked_for() -> None:
    values = {"x": [0.0, 1.0]}
    made = program(values, call("sqrt", "x", output="r"), call("sum", "r", output="y"))
    compiled = compile_check(made, CheckRequest(detect_anomaly=True), Limits())
    with pytest.raises(ValueFault, match="sqrt: the gradient that it passes back is not finite"):
        compiled.run(given(values))


def test_a_refusal_at_the_point_itself_is_an_error() -> None:
    values = {"p": [2.0], "t": [1.0]}
    made = program(values, call("binary_cross_entropy", "p", "t", output="y"))
    compiled = compile_check(made, CheckRequest(wrt=("p",)), Limits())
    with pytest.raises(ValueFault, match=r"must be in \[0, 1\]"):
        compiled.run(given(values))
