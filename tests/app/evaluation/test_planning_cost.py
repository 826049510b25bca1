"""The predicted planning work: everything that planning reads counts, so that long planning leaves the event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

import engine.program.program
from app.evaluation.evaluator import Call, Evaluator, Observer
from app.evaluation.planning_cost import graph_items, planning_work
from app.evaluation.structure import Key
from app.schemas.graph import GraphForm
from app.settings import Settings
from app.workers.dispatch import PLAN_S
from engine.graph.types import float64
from engine.program.program import Ref
from tests.app.bodies import op, request

Body = dict[str, Any]
VECTOR = {"data": [1.0, 2.0], "requires_grad": True}


class _Stopped(Exception):
    """Planning was about to begin."""


class _Recorded(Observer):
    """Keeps the predicted work, and stops where planning begins."""

    work: float = 0

    def planning(self, key: Key, work: float) -> None:  # noqa: ARG002
        self.work = work
        raise _Stopped


class _Searched(Observer):
    """Stops where a plan that needs a search is made."""

    def searching(self, key: Key) -> None:  # noqa: ARG002
        raise _Stopped


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    return Evaluator(Settings())


def predicted(evaluator: Evaluator, operation: str, body: Body) -> float:
    """Return the seconds that planning is predicted to take."""
    observer = _Recorded()
    with pytest.raises(_Stopped):
        evaluator.answer(Call(operation, orjson.dumps(body)), observer=observer)
    return PLAN_S * observer.work


def names(count: int) -> list[str]:
    return [f"n{number}" for number in range(count)]


SUM = op("sum", ["x"], "s")

KINDS: dict[str, tuple[str, Callable[[int], Body]]] = {
    "ops": (
        "gradients",
        lambda n: request({"x": VECTOR}, *[op("exp", ["x"], name) for name in names(n)], SUM, backward="s"),
    ),
    "tensors that nothing reads": (
        "gradients",
        lambda n: request({"x": VECTOR, **dict.fromkeys(names(n), VECTOR)}, SUM),
    ),
    "results of unbind": ("forward", lambda n: request({"x": {"data": [0.0] * n}}, op("unbind", ["x"], names(n)))),
    "results that are skipped": (
        "forward",
        lambda n: request({"x": {"data": [0.0] * n}}, op("split", ["x", 1], ["a", *[None] * (n - 1)])),
    ),
    "operands of cat": (
        "gradients",
        lambda n: request({"x": VECTOR}, op("cat", [["x"] * n], "c"), op("sum", ["c"], "s")),
    ),
    "names in wrt": ("gradients", lambda n: request({"x": VECTOR}, SUM, wrt=["x"] * n)),
    "names in outputs": ("gradients", lambda n: request({"x": VECTOR}, SUM, outputs=["s"] * n)),
    "names in backward": ("gradients", lambda n: request({"x": VECTOR}, SUM, backward=["s"] * n)),
    "names in accumulate": (
        "gradients",
        lambda n: request({"x": VECTOR}, SUM, accumulate={name: [1.0, 2.0] for name in names(n)}),
    ),
    "names in checkpoint": ("gradients", lambda n: request({"x": VECTOR}, SUM, checkpoint=["s"] * n)),
    "names in vmap": ("gradients", lambda n: request({"x": VECTOR}, SUM, vmap=dict.fromkeys(names(n), 0))),
    "names in tangents": (
        "jvp",
        lambda n: request({"x": VECTOR}, SUM, tangents={"x": [1.0, 0.0], **{name: [1.0] for name in names(n)}}),
    ),
    "numbers in attributes": (
        "gradients",
        lambda n: request({"x": VECTOR}, {**op("roll", ["x"], "r"), "attributes": {"shifts": [1] * n}}),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_many_of_them_are_predicted_to_take_longer_than_the_event_loop_can_spare(
    kind: str, evaluator: Evaluator
) -> None:
    operation, body = KINDS[kind]
    spare = Settings().inline_ms / 1000
    assert predicted(evaluator, operation, body(2)) < spare
    few, many = (predicted(evaluator, operation, body(count)) for count in (500, 4000))
    assert few > spare
    assert many == pytest.approx(8 * few, rel=0.1)


@pytest.mark.parametrize("operation", ["jacobian", "hessian", "check"])
def test_a_plan_that_needs_a_search_is_announced_whatever_its_ops(operation: str, evaluator: Evaluator) -> None:
    call = Call(operation, orjson.dumps(request({"x": VECTOR}, SUM)))
    with pytest.raises(_Stopped):
        evaluator.answer(call, observer=_Searched())
    evaluator.answer(call)
    evaluator.answer(call, observer=_Searched())  # its plan is kept


def test_a_search_is_announced_for_new_shapes_of_a_structure_that_is_kept(evaluator: Evaluator) -> None:
    body = request({"x": {"data": [1.0] * 3, "requires_grad": True}}, op("exp", ["x"], "y"))
    evaluator.answer(Call("jacobian", orjson.dumps(body)))
    body["graph"]["tensors"]["x"]["data"] = [1.0] * 4
    with pytest.raises(_Stopped):
        evaluator.answer(Call("jacobian", orjson.dumps(body)), observer=_Searched())


def test_results_of_a_registered_graph_count() -> None:
    calls = tuple(engine.program.program.OpCall("unbind", (Ref("x"),), {}, tuple(names(2000))) for _ in range(2))
    items = graph_items(GraphForm({}, calls, float64))
    assert items == 2 * (2000 + 2)
    assert planning_work(len(calls), items) > 600
