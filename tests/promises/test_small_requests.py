"""A short request cannot hold the event loop: what takes longer than some milliseconds is handed to a worker.

`make bench ARGS="--only short_requests"` has how long health takes to answer while each of these requests runs. Here
the event loop's own CPU time is held, which does not depend on what else the machine does.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.evaluation.evaluator import Call
from app.http.services import services_of
from app.main import create_app
from app.settings import Settings
from app.wire.codec import CODECS
from benchmarks.service.short_requests import SHORT
from tests.app.client import Client, client_of
from tests.promises.steps.timing import record_steps

MOST_S = 0.05
"""CPU seconds of the event loop between two chances to answer others."""


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with client_of(create_app(Settings(concurrency=1, timeout_ms=2000))) as made:
        yield made


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the CPU seconds of each callback that the event loop runs."""
    return record_steps(monkeypatch)


@pytest.mark.parametrize("name", SHORT)
def test_a_short_request_does_not_hold_the_event_loop(client: Client, name: str, steps: list[float]) -> None:
    short = SHORT[name]
    assert len(short.body) < 2**18
    headers = {"content-type": short.media_type} | {key.lower(): value for key, value in short.headers.items()}
    for _ in range(2):
        status, body = client.call(f"/v1/{short.operation}", [{"type": "http.request", "body": short.body}], headers)
        assert status in {200, 413, 422, 504}, body[:300]
    assert max(steps) < MOST_S


ELSEWHERE = ["pooling", "long_json", "empty_lists", "deep_lists", "words", "ragged", "brackets", "msgpack_lists"]


@pytest.mark.parametrize("name", ELSEWHERE)
def test_its_work_is_handed_to_a_worker(client: Client, name: str) -> None:
    short = SHORT[name]
    call = Call(short.operation, short.body, CODECS[short.media_type])
    for _ in range(2):
        assert services_of(client.app).dispatcher.at_once(call) is None
