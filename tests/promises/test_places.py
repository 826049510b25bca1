"""A request is answered with the same bytes wherever it is computed."""

from typing import Any

import pytest

from app.main import create_app
from app.routes.examples import EXAMPLES
from app.settings import Settings
from tests.app.client import client_of
from tests.app.graphs import sum_of_exp

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
