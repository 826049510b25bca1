"""Requests that the connection refuses before any route sees them: problems as all others, counted and logged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from app.main import create_app
from app.settings import Settings
from tests.app.listening import Listening, listening

CASES: dict[str, tuple[bytes, int, str, str, str]] = {
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00", 400, "malformed_http", "", ""),
    "a method that is none": (b"FETCH / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "malformed_http", "", ""),
    "a header without a name": (b"GET /a?b HTTP/1.1\r\n: x\r\n\r\n", 400, "malformed_http", "GET", "/a"),
    "headers that never end": (b"PUT /a HTTP/1.1\r\nHost: localhost\r\n", 408, "slow_headers", "PUT", "/a"),
    "nothing": (b"", 408, "slow_headers", "", ""),
    "large headers": (b"GET /a HTTP/1.1\r\nX: " + b"x" * 2000, 431, "headers_too_large", "GET", "/a"),
    "a large target": (b"GET /" + b"x" * 2000, 431, "headers_too_large", "GET", "/" + "x" * 255),
}
"""By what is wrong: the bytes, the status and the code of the answer, the method and the path that are logged."""


@pytest.fixture(scope="module")
def found() -> Iterator[Listening]:
    with listening(create_app(Settings(max_header_bytes=1024, header_timeout_ms=100))) as found:
        yield found


def parted(reply: bytes) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Return the status, the headers and the document of a reply."""
    head, _, body = reply.partition(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
    assert int(headers["content-length"]) == len(body)
    return int(line.split()[1]), headers, orjson.loads(body)


@pytest.mark.parametrize("case", CASES)
def test_a_refusal_is_a_problem_that_is_counted_and_logged(
    found: Listening, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sent, status, code, method, path = CASES[case]
    before = counted(found, code)
    found_status, headers, problem = parted(found.exchange(sent))
    assert (found_status, headers["content-type"], headers["connection"]) == (
        status,
        "application/problem+json",
        "close",
    )
    assert headers["x-request-id"] == problem["request_id"]
    assert headers["x-content-type-options"] == "nosniff"
    [error] = problem["errors"]
    assert (problem["status"], problem["code"], error["code"], error["pointer"]) == (status, code, code, "#")
    assert error["hint"]
    assert counted(found, code) == before + 1
    found.services.access.flush()
    [line] = [orjson.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    assert (line["request_id"], line["status"], line["code"]) == (problem["request_id"], status, code)
    assert (line["method"], line["path"]) == (method, path)


def counted(found: Listening, code: str) -> float:
    """Return how many requests were refused with a code, as the counters say."""
    lines = found.services.metrics.exposition().decode().splitlines()
    values = [float(line.split()[-1]) for line in lines if line.startswith(f'gradd_refused_total{{code="{code}"')]
    return sum(values)


def test_the_path_of_an_earlier_request_is_not_that_of_what_follows(
    found: Listening, capsys: pytest.CaptureFixture[str]
) -> None:
    found.exchange(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01")
    found.services.access.flush()
    lines = [orjson.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    assert sorted((line["status"], line["path"]) for line in lines) == [(200, "/health/live"), (400, "")]
