"""The checks themselves, with the interpreter in the server's place: right answers pass, wrong ones fail a column."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.conformance.interpreter import run
from tests.conformance.samples import ops
from tests.conformance.server import Answer
from tests.conformance.tally import Tally, tally
from tests.conformance.wire import DTYPES, NAMES, write_tensor

pytestmark = [pytest.mark.conformance, pytest.mark.filterwarnings("ignore")]

Change = Callable[[dict[str, Any]], None]


def _reply(request: dict[str, Any]) -> dict[str, Any]:
    """Return what a server that computes `mul` rightly replies."""
    found, default = run(request), DTYPES[request["graph"]["dtype"]]
    after = list(found.gradients)
    output = found.outputs["y0"]
    node = {
        "op": "mul",
        "shape": list(output.shape),
        "dtype": NAMES[output.dtype],
        "requires_grad": bool(after),
        "is_leaf": False,
        "grad_fn": "MulBackward0" if after else None,
        "next_functions": after,
    }
    return {
        "outputs": {"y0": write_tensor(output, "flat", default)},
        "gradients": {name: value if value is None else write_tensor(value, "flat", default)
                      for name, value in found.gradients.items()},
        "dag": {"nodes": [node]},
    }  # fmt: skip


def _counted(change: Change = lambda _: None) -> Tally:
    def post(path: str, request: dict[str, Any]) -> Answer:
        reply = _reply(request)
        change(reply)
        return Answer(200, "application/json", reply)

    return tally("mul", ops()["mul"], post)


def _scale(section: str) -> Change:
    def change(reply: dict[str, Any]) -> None:
        for tensor in reply[section].values():
            tensor["data"] = [value * (1 + 1e-4) if isinstance(value, float) else value for value in tensor["data"]]

    return change


def _set(member: str, value: Any) -> Change:
    return lambda reply: reply["dag"]["nodes"][0].update({member: value})


def test_right_answers_pass() -> None:
    counts = _counted()
    assert not counts.failures
    assert counts.passed == counts.checked
    assert min(counts.checked[column] for column in ("value f64", "gradient f64", "grad_fn", "DAG", "value f32")) > 20


@pytest.mark.parametrize(
    ("change", "columns"),
    [
        (_scale("outputs"), {"value f64", "value f32"}),
        (_scale("gradients"), {"gradient f64", "gradient f32"}),
        (_set("grad_fn", "DivBackward0"), {"grad_fn"}),
        (_set("next_functions", []), {"DAG"}),
        (_set("dtype", "int8"), {"DAG"}),
    ],
    ids=["value", "gradient", "grad_fn", "next_functions", "dtype"],
)
def test_a_wrong_answer_fails_its_column_alone(change: Change, columns: set[str]) -> None:
    counts = _counted(change)
    assert {column for column in counts.checked if counts.passed[column] < counts.checked[column]} == columns
    assert counts.failures


def test_a_refusal_is_no_pass_and_a_failure_is_no_refusal() -> None:
    errors = [{"pointer": "#/graph", "code": "dtype_not_offered", "detail": "not offered"}]
    refused = tally("mul", ops()["mul"], lambda *_: Answer(422, "application/problem+json", {"errors": errors}))
    assert not refused.passed
    assert refused.refused["dtype_not_offered"] > 20
    failed = tally("mul", ops()["mul"], lambda *_: Answer(500, "application/problem+json", {"detail": "it failed"}))
    assert not any(failed.passed.values())
    assert failed.failures


def test_a_number_in_answer_to_what_pytorch_refuses_fails() -> None:
    entries = ops()["cat"]
    numbers = tally("cat", entries, lambda *_: Answer(200, "application/json", {"outputs": {}, "dag": {"nodes": []}}))
    assert any(failure.startswith("errors refused") for failure in numbers.failures)
