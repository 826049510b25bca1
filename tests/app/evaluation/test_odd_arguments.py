"""Arguments of every op that are of another kind, or far too large, are computed or refused: none is a defect."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from app.errors import ProblemError
from app.evaluation.evaluator import Call, Evaluator
from app.settings import Settings
from engine.graph.op import REGISTRY
from tests.promises.steps.seeds import of_sample

ODD: tuple[Any, ...] = (
    0,
    -1,
    1.5,
    None,
    True,
    "x",
    [],
    [1],
    [[1]],
    [None],
    ["x"],
    [0],
    [-1] * 70,
    [True],
    [1.5],
    [2**62],
    [2**62, 2**62],
    2**62,
    -(2**62),
    1e300,
    {"number": "NaN"},
    {"number": "Infinity"},
    [{"number": "NaN"}],
)

EVALUATOR = Evaluator(Settings())


def requests(name: str) -> Iterator[Any]:
    """Yield the first sample of an op with each argument in turn replaced by each of the odd ones."""
    op = REGISTRY[name]
    for sample in op.samples[:1]:
        request = of_sample(op, sample, "gradients").tree
        call = request["graph"]["ops"][0]
        inputs = call["inputs"]
        variadic = {parameter.name for parameter in op.signature.parameters if parameter.variadic}
        places = [("inputs", key) for key in (inputs if isinstance(inputs, dict) else range(len(inputs)))]
        places += [("attributes", parameter.name) for parameter in op.signature.parameters]
        for part, key in places:
            for odd in ODD:
                changed = copy.deepcopy(request)
                arguments = changed["graph"]["ops"][0].setdefault(part, {})
                arguments[key] = odd
                yield changed
                if key in variadic and isinstance(inputs, list):
                    alone = copy.deepcopy(changed)
                    alone["graph"]["ops"][0]["inputs"] = inputs[:1]
                    yield alone


def status(request: Any) -> int:
    """Return the status of the answer. Raises the exception of a defect."""
    try:
        EVALUATOR.answer(Call("gradients", orjson.dumps({**request, "timeout_ms": 2000})))
    except ProblemError as problem:
        return problem.status
    return 200


@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning")
@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_odd_arguments(name: str) -> None:
    for request in requests(name):
        assert status(request) in {200, 422, 504}, request
