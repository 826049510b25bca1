"""A request with many unknown names is refused after a bounded number of comparisons, with a bounded number of faults.

The tests count operations, not time: each comparison takes 4 µs at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson
import pytest
from rapidfuzz.process import extract

from app.errors import InvalidRequest
from app.schemas.faults import MAX_FAULTS
from engine.hints import suggestions
from tests.app.bodies import op, request, tensor, wanted
from tests.app.evaluation.test_called import Service

MANY = 1000
KNOWN = [f"{index:04d}".ljust(128, "k") for index in range(500)]
UNKNOWN = [f"{index:04d}".rjust(128, "u") for index in range(MANY)]
SHORT = [f"n{index:05d}" for index in range(8000)]

TENSORS = {name: wanted(1.0) for name in KNOWN}
SUM = op("stack", [KNOWN], "s"), op("sum", ["s"], "loss")


def all_in(graph: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"graph": graph, **members}


GRAPH = request(TENSORS, *SUM)["graph"]

REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "outputs": ("forward", all_in(GRAPH, outputs=UNKNOWN)),
    "wrt": ("gradients", all_in(GRAPH, wrt=UNKNOWN)),
    "wrt of a Jacobian": ("jacobian", all_in(GRAPH, output="loss", wrt=UNKNOWN)),
    "backward": ("gradients", all_in(GRAPH, backward=dict.fromkeys(UNKNOWN, 1.0))),
    "tangents": ("jvp", all_in(GRAPH, tangents=dict.fromkeys(UNKNOWN, 1.0))),
    "vectors": ("hvp", all_in(GRAPH, output="loss", vectors=dict.fromkeys(UNKNOWN, 1.0))),
    "accumulate": ("gradients", all_in(GRAPH, accumulate=dict.fromkeys(UNKNOWN, 1.0))),
    "checkpoint": ("gradients", all_in(GRAPH, checkpoint=UNKNOWN)),
    "vmap": ("gradients", all_in(GRAPH, vmap=dict.fromkeys(UNKNOWN, 0))),
    "inputs": ("gradients", request(TENSORS, *[op("exp", [name], f"e{name[:9]}") for name in UNKNOWN])),
    "one op's inputs": ("gradients", request(TENSORS, op("stack", [UNKNOWN], "s"))),
    "ops": ("gradients", request(TENSORS, *[op(name[:40], [KNOWN[0]], name) for name in UNKNOWN])),
    "attributes": ("forward", request(TENSORS, op("sum", [KNOWN[0]], "s", attributes=dict.fromkeys(UNKNOWN, 1)))),
    "named inputs": ("forward", request(TENSORS, op("sum", dict.fromkeys(UNKNOWN, KNOWN[0]), "s"))),
    "members": ("gradients", all_in(GRAPH, **dict.fromkeys(UNKNOWN, 1))),
    "members of the graph": ("gradients", {"graph": {**GRAPH, **dict.fromkeys(UNKNOWN, 1)}}),
    "members of a tensor": ("gradients", request({"x": tensor(1.0, **dict.fromkeys(UNKNOWN, 1))})),
    "members of an op": ("gradients", request(TENSORS, op("exp", [KNOWN[0]], "e", **dict.fromkeys(UNKNOWN, 1)))),
    "dtypes": ("gradients", request({name: tensor(1.0, dtype=name) for name in UNKNOWN})),
    "reductions": (
        "forward",
        request(
            TENSORS,
            *[op("mse_loss", KNOWN[:2], name[-9:], attributes={"reduction": name}) for name in UNKNOWN],
        ),
    ),
    "an encoding": ("gradients", all_in(GRAPH, encoding=UNKNOWN[0] * 1000)),
    "outputs of a large graph": (
        "forward",
        request({"x": 1.0}, *[op("exp", ["x"], name) for name in SHORT], outputs=[name[1:] for name in SHORT]),
    ),
}


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """The number of comparisons so far; each is of names of bounded length."""
    counts = []

    def counted(name: str, choices: Sequence[str], **options: Any) -> Any:
        assert max(map(len, [name, *choices])) <= 128
        counts.append(len(choices))
        return extract(name, choices, **options)

    monkeypatch.setattr(suggestions, "extract", counted)
    return lambda: sum(counts)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.store.close()


def refusal(service: Service, operation: str, body: dict[str, Any], graph_id: str | None = None) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        service.answer(operation, body, graph_id)
    return caught.value


@pytest.mark.parametrize("case", REQUESTS)
def test_comparisons_and_faults_are_bounded(service: Service, compared: Callable[[], int], case: str) -> None:
    problem = refusal(service, *REQUESTS[case])
    assert 1 <= len(problem.faults) <= MAX_FAULTS
    assert compared() <= 4 * suggestions.MAX_COMPARISONS


def test_unknown_tensors_of_a_registered_graph(service: Service, compared: Callable[[], int]) -> None:
    registered = service.register(GRAPH)
    problem = refusal(service, "gradients", {"tensors": dict.fromkeys(UNKNOWN, 1.0)}, registered)
    assert len(problem.faults) == MAX_FAULTS
    assert compared() <= 4 * suggestions.MAX_COMPARISONS


def test_a_few_unknown_names_all_have_suggestions(service: Service) -> None:
    graph = request({"weights": wanted([1.0])}, op("exp", ["wieghts"], "e"), op("sun", ["weights"], "s"))
    hints = [fault.hint for fault in refusal(service, "gradients", graph).faults]
    assert hints[0] == "Did you mean 'weights'?"
    assert "'sum'" in hints[1]


def test_outputs_that_a_fault_lists_are_bounded(service: Service) -> None:
    body = request({"x": wanted([1.0, 2.0])}, *[op("exp", ["x"], name) for name in SHORT])
    (fault,) = refusal(service, "gradients", body).faults
    assert len(fault.detail) < 1000
    assert len(orjson.dumps(fault.detail)) < 1000
