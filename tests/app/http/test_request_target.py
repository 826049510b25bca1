"""Request targets without a path: an absolute one means "/", as RFC 9112 says; each is answered on both paths."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.main import create_app
from app.settings import Settings
from tests.app.listening import Listening, listening

TARGETS = {
    "GET http://127.0.0.1": 307,
    "GET http://127.0.0.1:8000?query=/x": 307,
    "GET http://127.0.0.1/health/live": 200,
    "GET http://127.0.0.1/health/live?query": 200,
    "GET /health/live?http://x": 200,
    "POST http://127.0.0.1": 405,
    "POST http://127.0.0.1/v1/gradients": 400,
    "CONNECT 127.0.0.1:443": 405,
    "OPTIONS *": 404,
    "GET health": 400,
}
"""The status of the answer, by method and target."""


@pytest.fixture(scope="module")
def found() -> Iterator[Listening]:
    with listening(create_app(Settings(concurrency=1))) as found:
        yield found


@pytest.mark.parametrize("line", TARGETS)
def test_a_target_is_answered(found: Listening, line: str) -> None:
    request = f"{line} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 1\r\n\r\n{{"
    last = b"GET /health/live HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"
    status, answered = TARGETS[line], found.exchange(request.encode(), last)
    assert answered.startswith(f"HTTP/1.1 {status} ".encode())
