"""What a check says of gradients: contract, section 5. How differences are judged is held by the engine's tests."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import orjson
import pytest

from app.errors import InvalidRequest, TimedOut
from app.evaluation.evaluator import Call, Evaluator
from app.evaluation.operations import example_graphs as graphs
from app.routes.examples.inline import EXAMPLES
from app.settings import Settings
from engine.execute.numpy.runner import Runner
from engine.inspect import catalogue
from tests.app.bodies import op, request, sum_of_exp, wanted
from tests.engine.wrong_rules import WRONG


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    return Evaluator(Settings())


def ask(evaluator: Evaluator, call: str, body: dict[str, Any]) -> Any:
    return orjson.loads(evaluator.answer(Call(call, orjson.dumps(body))).body)


def check(evaluator: Evaluator, body: dict[str, Any]) -> Any:
    return ask(evaluator, "check", body)


@pytest.mark.parametrize("dag", [None, True, False])
def test_the_members_of_the_reply(evaluator: Evaluator, dag: bool | None) -> None:
    found = check(evaluator, sum_of_exp(**({} if dag is None else {"dag": dag})))
    assert set(found) == {"passed", "finite", "inputs", "dot_product", "warnings"} | ({"dag"} if dag else set())


def test_gradients_that_are_right_pass(evaluator: Evaluator) -> None:
    found = check(evaluator, {"graph": graphs.TUTORIAL})
    assert (found["passed"], found["finite"], set(found["inputs"])) == (True, True, {"w", "b"})
    gradients = ask(evaluator, "gradients", {"graph": graphs.TUTORIAL})["gradients"]
    for name, report in found["inputs"].items():
        worst = report["largest_absolute"]
        assert worst["gradient"] == np.array(gradients[name]["data"])[tuple(worst["index"])]
        assert worst["difference"] == abs(worst["gradient"] - worst["numeric"]) < 1e-8


def of_an_op(evaluator: Evaluator, name: str) -> dict[str, Any] | None:
    """A check of the op's example in the catalogue with seeds for its results, or None where none has a gradient."""
    graph = catalogue.describe(name)["example"]
    reply = ask(evaluator, "forward", {"graph": graph, "dag": True})
    if not reply["dag"]["nodes"][-1]["requires_grad"]:
        return None
    floating = {name: found["shape"] for name, found in reply["outputs"].items() if found["dtype"].startswith("float")}
    rng = np.random.default_rng(3)
    return {"graph": graph, "backward": {root: rng.uniform(0.5, 1.5, size).tolist() for root, size in floating.items()}}


@pytest.mark.parametrize("name", catalogue.names())
def test_every_op_passes(evaluator: Evaluator, name: str) -> None:
    body = of_an_op(evaluator, name)
    if body is not None:
        found = check(evaluator, body)
        assert found["passed"], found


@pytest.mark.parametrize("fault", ["wrong sign", "not transposed", "one element of many"])
def test_a_rule_that_is_wrong_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant = WRONG[fault]
    tensors = {name: wanted(value.tolist()) for name, value in plant.values.items()}
    body = request(tensors, op(plant.call.op, list(plant.values), "y"), op("sum", ["y"], "total"))
    assert check(Evaluator(Settings()), body)["passed"]
    assert plant.position is not None
    monkeypatch.setitem(plant.primitive.rules, plant.position, plant.rule)
    found = check(Evaluator(Settings()), body)
    assert not found["passed"]
    assert any(report["failed"] for report in found["inputs"].values())


def test_kinks_are_counted_and_are_no_failures(evaluator: Evaluator) -> None:
    found = check(evaluator, EXAMPLES["check"]["kinks"]["value"])
    report = found["inputs"]["x"]
    assert (found["passed"], report["kinks"], report["failed"]) == (True, 2, 0)
    assert [kink["index"] for kink in report["at_kinks"]] == [[1], [3]]


def test_analytic_functions_are_right_to_the_last_digits(evaluator: Evaluator) -> None:
    found = check(evaluator, EXAMPLES["check"]["analytic"]["value"])
    for report in found["inputs"].values():
        assert (report["method"], report["direction"]["passed"]) == ("complex step", True)
        assert report["largest_relative"]["difference"] < 1e-14


def test_what_is_not_finite_is_spelled_as_in_tensors(evaluator: Evaluator) -> None:
    found = check(evaluator, EXAMPLES["check"]["masked"]["value"])
    worst = found["inputs"]["x"]["largest_absolute"]
    assert (found["passed"], worst["index"], worst["gradient"], worst["numeric"]) == (False, [0], "NaN", 0.0)
    assert worst["difference"] == "Infinity"
    assert found["dot_product"]["cotangent"] == "NaN"
    assert "where" in found["warnings"][0]


def test_every_sample_is_checked(evaluator: Evaluator) -> None:
    found = check(evaluator, {"graph": graphs.BATCH, "vmap": {"x": 0, "y": 0}})
    shapes = {name: report["elements"] for name, report in found["inputs"].items()}
    assert (found["passed"], shapes) == (True, {"w": 45, "b": 9})
    assert len(found["inputs"]["w"]["largest_absolute"]["index"]) == 3


def test_no_sample_at_all_passes(evaluator: Evaluator) -> None:
    none = {"data": [], "shape": [0, 3], "requires_grad": True}
    found = check(evaluator, request({"x": none}, op("exp", ["x"], "e"), op("sum", ["e"], "s"), vmap={"x": 0}))
    assert (found["passed"], found["inputs"]["x"]["elements"]) == (True, 0)


def test_the_seed_says_what_is_drawn(evaluator: Evaluator) -> None:
    body = request(
        {"x": wanted([1.0] * 20)}, op("dropout", ["x"], "d"), op("square", ["d"], "q"), op("sum", ["q"], "s")
    )
    first, again, other = (check(evaluator, {**body, "seed": seed}) for seed in (1, 1, 2))
    assert first == again != other
    assert first["passed"]
    assert other["passed"]


def test_tolerances_are_held(evaluator: Evaluator) -> None:
    body = sum_of_exp(eps=1e-3)
    assert check(evaluator, body)["passed"]
    report = check(evaluator, {**body, "rtol": 0, "atol": 0})["inputs"]["x"]
    assert report["largest_absolute"]["difference"] > 0


def test_an_input_of_which_nothing_can_be_compared_does_not_pass(evaluator: Evaluator) -> None:
    """Beside a loss of 1e20 a slope of 1 is lost in rounding."""
    body = request({"x": wanted(0)}, op("exp", ["x"], "e"), op("add", ["e", 1e20], "s"), eps=1e-3)
    found = check(evaluator, body)
    assert (found["passed"], found["inputs"]["x"]["unresolved"]) == (False, 1)


def test_anomalies_are_refused_where_a_request_for_gradients_would(evaluator: Evaluator) -> None:
    masked = {**EXAMPLES["check"]["masked"]["value"], "detect_anomaly": True}
    refusals = []
    for call in ("gradients", "check"):
        with pytest.raises(InvalidRequest) as raised:
            ask(evaluator, call, masked)
        refusals.append(raised.value.faults)
    assert refusals[0] == refusals[1]


def test_the_encoding_changes_nothing(evaluator: Evaluator) -> None:
    assert check(evaluator, sum_of_exp(encoding="base64")) == check(evaluator, sum_of_exp())


def test_a_deadline_that_passes_between_two_differences_ends_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(self: Runner, *given: Any, **options: Any) -> list[Any]:
        runs.append(1)
        if len(runs) == 2:
            monkeypatch.setattr(time, "monotonic", lambda: now + 60)
        return run(self, *given, **options)

    runs: list[int] = []
    now, run = time.monotonic(), Runner.run
    monkeypatch.setattr(Runner, "run", slow)
    with pytest.raises(TimedOut) as raised:
        Evaluator(Settings()).answer(Call("check", orjson.dumps(sum_of_exp(eps=1e-3))), now + 30)
    assert (raised.value.status, raised.value.code) == (504, "deadline_exceeded")
    assert len(runs) == 2


def test_memory_is_bounded_before_anything_runs() -> None:
    with pytest.raises(InvalidRequest, match="over the limit"):
        check(Evaluator(Settings(max_memory_bytes=1000)), sum_of_exp([0.0] * 1000))
