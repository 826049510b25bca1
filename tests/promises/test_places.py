"""A request is answered with the same bytes wherever it is computed."""

from typing import Any

import orjson
import pytest

from app.evaluation.evaluator import Call
from app.main import create_app
from app.routes.examples.inline import EXAMPLES
from app.settings import Settings
from tests.app.bodies import sum_of_exp
from tests.app.client import client_of

ASKED = [(f"/v1/{name}", example["value"]) for name, examples in EXAMPLES.items() for example in examples.values()]
REFUSED = [
    ("/v1/gradients", b"{"),
    ("/v1/gradients", b'{"graph": {}, "graph": {}}'),
    ("/v1/gradients", sum_of_exp(wrong=1, backward="nothing")),
    ("/v1/forward", {"graph": {"tensors": {"x": [[1], [2, 3]]}, "ops": []}}),
]


@pytest.mark.parametrize("bodies", [ASKED, REFUSED])
def test_the_loop_and_a_worker_agree(bodies: list[tuple[str, Any]]) -> None:
    answers = []
    for inline_ms in (1e12, 0):
        with client_of(create_app(Settings(concurrency=1, inline_ms=inline_ms))) as client:
            replies = [client.post(path, body, headers={"X-Request-ID": "same"}) for path, body in bodies]
        answers.append([(reply.status_code, reply.content) for reply in replies])
        there = ["elsewhere" in reply.headers["server-timing"] for reply in replies if reply.status_code == 200]
        assert set(there) <= {inline_ms == 0}
    assert answers[0] == answers[1]


def pooling(kernel: int) -> dict[str, Any]:
    """A number that becomes an image of 512 x 512, pooled in windows at each place of it."""
    ops = [
        {"op": "expand", "inputs": ["x", [1, 1, 512, 512]], "output": "image"},
        {"op": "max_pool2d", "inputs": ["image", kernel, 1], "output": "y"},
        {"op": "sum", "inputs": ["y"], "output": "total"},
    ]
    return {"graph": {"tensors": {"x": [[[[1.0]]]]}, "ops": ops}, "outputs": ["total"]}


@pytest.mark.parametrize("kernel", [12, 100])
def test_pooling_of_large_windows_is_no_work_for_the_loop(kernel: int) -> None:
    with client_of(create_app(Settings(concurrency=1))) as client:
        assert client.services.dispatcher.at_once(Call("forward", orjson.dumps(pooling(kernel)))) is None


def test_the_service_answers_while_large_windows_are_pooled() -> None:
    with client_of(create_app(Settings(concurrency=1))) as client:
        requests = [("POST", "/v1/forward", {"json": pooling(24)}), ("GET", "/health/live", {})]
        pooled, live = client.together(requests)
    assert (pooled.status_code, live.status_code) == (200, 200)
    assert pooled.json()["outputs"]["total"]["data"] == (512 - 23) ** 2
    assert "elsewhere" in pooled.headers["server-timing"]
