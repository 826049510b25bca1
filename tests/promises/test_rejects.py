"""A server that refuses requests keeps nothing of them: each error code, many times, and its memory stays.

`make test` refuses each ten times; `make fuzz` refuses each 1,000 times.
"""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import orjson

from tests.app import malformed, malformed_derivatives, refusals
from tests.app.http.test_server import serving
from tests.promises.sending import Address, Connection
from tests.promises.soak import resident
from tests.promises.traffic import JSON, Message

TIMES = 10
CONNECTIONS = 4
GROWTH_BYTES = 20 * 2**20
LARGEST = 2**16
"""The largest body that is sent: memory is what is measured, not the network."""

OTHERS: dict[str, tuple[int, Message]] = {
    "not_found": (404, Message("", "/v1/nothing", b"{}")),
    "unknown graph": (404, Message("", "/v1/graphs/sha256-0/gradients", b"{}")),
    "method_not_allowed": (405, Message("", "/v1/gradients", b"{}", method="PUT")),
    "not_acceptable": (406, Message("", "/v1/gradients", b"{}", {"content-type": JSON, "accept": "text/html"})),
    "unsupported_media_type": (415, Message("", "/v1/gradients", b"{}", {"content-type": "text/plain"})),
    "malformed_encoding": (
        400,
        Message("", "/v1/gradients", b"{}", {"content-type": JSON, "content-encoding": "gzip"}),
    ),
    "malformed_msgpack": (400, Message("", "/v1/gradients", b"\xc1", {"content-type": "application/msgpack"})),
    "malformed_http": (400, Message("", "/v1/gradients", b"", {"": "x"})),
    "body_too_large": (413, Message("", "/v1/gradients", b" " * 200_000)),
    "headers_too_large": (431, Message("", "/v1/gradients", b"", {"x": "y" * 70_000})),
}
"""Requests whose fault is not in the members, and the statuses of their answers."""


def refused() -> dict[str, tuple[int, Message]]:
    """Return a request for each error code, and the status of its answer."""
    found: dict[str, tuple[int, Message]] = {}
    cases = [("gradients", case) for case in malformed.CASES] + list(malformed_derivatives.CASES)
    for call, case in cases:
        if len(case.body) < LARGEST:
            found.setdefault(case.code, (case.status, Message(case.code, f"/v1/{call}", case.body)))
    for code, members in refusals.OPS.items():
        body = orjson.dumps(members)
        if len(body) < LARGEST:
            found.setdefault(code, (422, Message(code, "/v1/forward", body)))
    long = {"graph": {"tensors": {"x": [0.5]}, "ops": [_sin(index) for index in range(500)]}, "timeout_ms": 1}
    deadline = Message("", "/v1/forward", orjson.dumps(long))
    return {**found, **OTHERS, "deadline_exceeded": (504, deadline)}


def _sin(index: int) -> dict[str, object]:
    return {"op": "sin", "inputs": ["x" if not index else f"y{index - 1}"], "output": f"y{index}"}


async def refuse(address: Address, requests: list[tuple[int, Message]], times: int) -> None:
    """Send each request many times on several connections."""

    async def client(mine: list[tuple[int, Message]]) -> None:
        connection = Connection(address)
        for status, message in mine:
            for _ in range(times):
                reply = await connection.send(message)
                assert reply.status == status or reply.is_refusal_of_load, (message, reply)
        connection.close()

    async with asyncio.TaskGroup() as group:
        for number in range(CONNECTIONS):
            group.create_task(client(requests[number::CONNECTIONS]))


def measure(times: int) -> int:
    """Refuse each request some times, and return by how many bytes the server's memory grew, after a first round."""
    requests = list(refused().values())
    with serving(concurrency=2, log_level="warning", max_body_bytes=150_000) as (process, words):
        url = urlsplit(words[1])
        address = (str(url.hostname), int(url.port or 0))
        asyncio.run(refuse(address, requests, 5))
        before = resident(process.pid)
        asyncio.run(refuse(address, requests, times))
        return resident(process.pid) - before


def test_refused_requests_leave_no_memory() -> None:
    assert len(refused()) > 60
    assert measure(TIMES) < GROWTH_BYTES
