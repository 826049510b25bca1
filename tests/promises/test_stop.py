"""A stop signal ends incomplete requests and lets computations finish. Refused requests get problem documents."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from typing import Any

import pytest

from tests.app.http.test_refusals import parted
from tests.app.http.test_server import address_of, everything, serving
from tests.app.workers.test_shared_memory import head
from tests.promises.test_bytes_in_flight import HEALTH
from tests.promises.test_unread import asking, until
from tests.serving import PATIENCE_S

LONG_S = 3600
"""Seconds of the time to stop, where a test is to show that the server does not take it."""

HALVES: dict[str, bytes] = {
    "no byte of a body": head(100).replace(b"Host: x", b"Host: localhost"),
    "a part of a body": head(100).replace(b"Host: x", b"Host: localhost") + b"{",
    "a part of a large body": head(2**20).replace(b"Host: x", b"Host: localhost") + b"{" * 1000,
    "a part of a chunk": b"POST /v1/gradients HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{",
    "a body after a complete request": HEALTH.replace(b"close", b"keep-alive")
    + head(100).replace(b"Host: x", b"Host: localhost")
    + b"{",
}
HEADLESS: dict[str, bytes] = {"nothing": b"", "a part of a head": b"POST /v1/gradients HTTP/1.1\r\nHost: loc"}


def connected(words: list[str], sent: bytes) -> socket.socket:
    connection = socket.create_connection(address_of(words), timeout=PATIENCE_S)
    connection.sendall(sent)
    return connection


def ended(connection: socket.socket) -> bytes:
    """Return all that arrives until the server closes the connection."""
    with connection:
        return everything(connection)


def logged(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """Wait for the end of a server, and return the log lines of its requests."""
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    lines = [json.loads(line) for line in errors.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == "request" and line["path"] not in {"/health/live", "/metrics"}]


def test_requests_that_are_not_complete_end_soon() -> None:
    with serving(stop_timeout_s=LONG_S) as (process, words):
        halves = [connected(words, sent) for sent in HALVES.values()]
        headless = [connected(words, sent) for sent in HEADLESS.values()]
        until(words, len(halves))
        process.send_signal(signal.SIGTERM)
        replies = [ended(connection) for connection in halves]
        assert [ended(connection) for connection in headless] == [b"", b""]
        lines = logged(process)
    problems = []
    for reply in replies:
        status, headers, problem = parted(reply[reply.rindex(b"HTTP/1.1 503") :])
        assert (status, problem["code"], headers["connection"], headers["retry-after"]) == (503, "busy", "close", "1")
        assert headers["x-request-id"] == problem["request_id"]
        problems.append(problem["request_id"])
    assert sorted(problems) == sorted(line["request_id"] for line in lines)


def test_what_is_not_computed_in_time_is_a_problem() -> None:
    with serving(stop_timeout_s=1, concurrency=1, timeout_ms=PATIENCE_S * 1000) as (process, words):
        connections = [connected(words, asking(seconds=PATIENCE_S)) for _ in range(3)]
        until(words, len(connections))
        process.send_signal(signal.SIGTERM)
        replies = [ended(connection) for connection in connections]
        lines = logged(process)
    ids = set()
    for reply in replies:
        status, headers, problem = parted(reply)
        assert (status, problem["code"], headers["connection"], headers["retry-after"]) == (503, "busy", "close", "1")
        ids.add(problem["request_id"])
    assert ids == {line["request_id"] for line in lines}
    assert [(line["status"], line["code"]) for line in lines] == [(503, "busy")] * 3


@pytest.mark.parametrize("size", [24 * 2**20])
def test_a_reply_that_nobody_reads_is_not_waited_for_longer_than_the_time(size: int) -> None:
    with serving(stop_timeout_s=1) as (process, words), connected(words, asking(size=size)) as connection:
        assert connection.recv(1) == b"H"
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=PATIENCE_S)
