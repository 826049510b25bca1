"""A request beyond a limit is refused by the name of the limit, before anything is computed."""

from typing import Any

import orjson
import pytest

from app.errors import InvalidRequest, pointer
from app.evaluation.evaluator import Call, Evaluator
from app.settings import Settings
from tests.app.bodies import echo, op, request

CHAIN = [op("exp", ["x" if not index else f"e{index - 1}"], f"e{index}") for index in range(5)]


@pytest.mark.parametrize(
    ("settings", "body", "code", "place"),
    [
        ({"max_ops": 4}, request({"x": 1}, *CHAIN), "too_many_ops", "#/graph/ops"),
        ({"max_tensors": 1}, request({"x": 1, "y": 2}, *CHAIN), "too_many_tensors", "#/graph/tensors"),
        ({"max_rank": 2}, echo([[[1]]]), "rank_limit", "#/graph/tensors/x"),
        ({"max_elements": 3}, echo([1, 2, 3, 4]), "elements_limit", "#/graph/tensors/x"),
        (
            {},
            request({"x": [1]}, op("expand", ["x"], "y", attributes={"size": [10**6, 10**6]})),
            "elements_limit",
            "#/graph/ops/0",
        ),
    ],
)
def test_beyond_a_limit(settings: dict[str, Any], body: dict[str, Any], code: str, place: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        Evaluator(Settings(**settings)).answer(Call("forward", orjson.dumps(body)))
    fault = refused.value.faults[0]
    assert (fault.code, pointer(fault.path)) == (code, place)
    assert fault.hint


def test_at_the_limits() -> None:
    settings = Settings(max_ops=5, max_tensors=1, max_rank=1, max_elements=2)
    Evaluator(settings).answer(Call("forward", orjson.dumps(request({"x": [1, 2]}, *CHAIN))))
