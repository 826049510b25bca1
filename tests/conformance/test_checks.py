"""The checks themselves, with the interpreter in the server's place: right answers pass, wrong ones fail a column."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.conformance.checks import COLUMNS
from tests.conformance.interpreter_derivatives import Sections, answer
from tests.conformance.samples import ops
from tests.conformance.server import Answer
from tests.conformance.tally import Tally, tally
from tests.conformance.wire import DTYPES, NAMES, write_tensor

pytestmark = [pytest.mark.conformance, pytest.mark.filterwarnings("ignore")]

ENTRIES = tuple(replace(entry, draw_more=lambda *_: ()) for entry in ops()["mul"])
"""Without the reference inputs, which are many and no different here."""

Change = Callable[[str, dict[str, Any]], None]
"""Of the reply to a call at a path."""


def _reply(path: str, request: dict[str, Any]) -> dict[str, Any]:
    """Return what a server that computes `mul` rightly replies."""
    found, default = answer(path, request), DTYPES[request["graph"]["dtype"]]
    reply: dict[str, Any] = {
        section: {
            name: value if value is None else write_tensor(value, "flat", default) for name, value in part.items()
        }
        for section, part in found.items()
    }
    return reply | {"dag": {"nodes": [_node(found)]}} if request.get("dag") else reply


def _node(found: Sections) -> dict[str, Any]:
    output, after = found["outputs"]["y0"], list(found["gradients"])
    assert output is not None
    return {
        "op": "mul",
        "shape": list(output.shape),
        "dtype": NAMES[output.dtype],
        "requires_grad": bool(after),
        "is_leaf": False,
        "grad_fn": "MulBackward0" if after else None,
        "next_functions": after,
    }


def _counted(change: Change = lambda *_: None) -> Tally:
    def post(path: str, request: dict[str, Any]) -> Answer:
        reply = _reply(path, request)
        change(path + (" mapped" if request.get("vmap") else ""), reply)
        return Answer(200, "application/json", reply)

    return tally("mul", ENTRIES, post)


def _scale(section: str, *paths: str) -> Change:
    def change(path: str, reply: dict[str, Any]) -> None:
        if path in paths:
            for tensor in reply[section].values():
                if tensor is not None:
                    tensor["data"] = [v * (1 + 1e-4) if isinstance(v, float) else v for v in tensor["data"]]

    return change


def _set(member: str, value: Any) -> Change:
    def change(path: str, reply: dict[str, Any]) -> None:
        if "dag" in reply:
            reply["dag"]["nodes"][0][member] = value

    return change


def test_right_answers_pass() -> None:
    counts = _counted()
    assert not counts.failures
    assert counts.passed == counts.checked
    assert min(counts.checked[column] for column in COLUMNS if column != "errors refused") > 5


@pytest.mark.parametrize(
    ("change", "columns"),
    [
        (_scale("outputs", "/v1/forward", "/v1/gradients"), {"value f64", "value f32", "vmap"}),
        (_scale("gradients", "/v1/gradients"), {"gradient f64", "gradient f32", "transpose", "vmap"}),
        (_scale("tangents", "/v1/jvp"), {"jvp", "transpose"}),
        (_scale("hvp", "/v1/hvp", "/v1/hvp mapped"), {"second"}),
        (_scale("hvp", "/v1/hvp mapped"), {"vmap"}),
        (_scale("gradients", "/v1/gradients mapped"), {"vmap"}),
        (_scale("outputs", "/v1/gradients mapped"), {"vmap"}),
        (_set("grad_fn", "DivBackward0"), {"grad_fn"}),
        (_set("next_functions", []), {"DAG"}),
        (_set("dtype", "int8"), {"DAG"}),
    ],
    ids=[
        "value",
        "gradient",
        "tangent",
        "second",
        "mapped second",
        "mapped gradient",
        "mapped value",
        "grad_fn",
        "next_functions",
        "dtype",
    ],
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
