"""Small calls that are answered on the spot: the same answers, counters and log lines as on the general way."""

from __future__ import annotations

import asyncio
import gzip
import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import orjson
import pytest
from fastapi import FastAPI
from structlog.testing import capture_logs

from app.graphs import registration
from app.graphs.store.store import Store
from app.http.fast_path.shortcut import FastPath
from app.main import create_app
from app.routes.examples.inline import TUTORIAL
from app.settings import Settings
from app.wire.codec import JSON
from tests.app.bodies import op, request, sum_of_exp, tensor, wanted
from tests.app.graphs.test_store import Clock
from tests.app.listening import Listening, listening

GRADIENTS = "/v1/gradients"
REGISTER = orjson.dumps({"graph": TUTORIAL["graph"]})
ROWS = tensor([1.0] * 5)
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
LEAVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
MANY = request({"x": wanted([0.5] * 400)}, op("exp", ["x"], "e"), op("sum", ["e"], "s"), dag=False)


def post(path: str, body: Any, *headers: str, method: str = "POST", version: str = "1.1") -> bytes:
    """Return a request, as bytes; a length that is given in the headers stays."""
    sent = body if isinstance(body, bytes) else orjson.dumps(body)
    lines = [f"{method} {path} HTTP/{version}", "Host: localhost", *headers]
    if not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in lines):
        lines.append(f"Content-Length: {len(sent)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + sent


CALLED = f"/v1/graphs/{registration.read(REGISTER, JSON, Settings(), None)[0].id}"
SENT = {"tensors": {"x": [1, 2, 3, 4, 5]}, "dag": False}
UNKNOWN = f"/v1/graphs/sha256-{'0' * 64}/gradients"

SHORT: dict[str, bytes] = {
    "with its DAG": post(GRADIENTS, TUTORIAL),
    "without": post(GRADIENTS, sum_of_exp(dag=False), "Content-Type: application/json; charset=utf-8"),
    "another operation": post("/v1/hvp", {**sum_of_exp(), "vectors": {"x": [1, 0, 0]}}),
    "base64": post(GRADIENTS, sum_of_exp(encoding="base64")),
    "MessagePack": post(
        GRADIENTS, msgpack.packb(TUTORIAL), "Content-Type: application/msgpack", "Accept: application/x-msgpack"
    ),
    "an id": post(GRADIENTS, TUTORIAL, "X-Request-ID: mine"),
    "an id that is none": post(GRADIENTS, TUTORIAL, "X-Request-ID: not mine"),
    "an id before spaces": post(GRADIENTS, TUTORIAL, "x-request-id:  mine \t"),
    "an empty id": post(GRADIENTS, TUTORIAL, "X-Request-ID:"),
    "an id in other letters": post(GRADIENTS, TUTORIAL, "X-Request-ID: m\xefne"),
    "a trace": post(GRADIENTS, TUTORIAL, f"traceparent: {TRACEPARENT}", "tracestate: a=b"),
    "a trace in other letters": post(GRADIENTS, TUTORIAL, f"TraceParent:{TRACEPARENT} "),
    "no trace": post(GRADIENTS, TUTORIAL, f"traceparent: {TRACEPARENT.upper()}", "tracestate: a=b"),
    "a trace of a refusal": post(GRADIENTS, b"{", f"traceparent: {TRACEPARENT}"),
    "proxies": post(GRADIENTS, TUTORIAL, "X-Forwarded-For: 192.0.2.1, 10.0.0.1", "X-Request-ID: mine"),
    "a query": post(f"{GRADIENTS}?a=b", TUTORIAL),
    "gzip": post(GRADIENTS, TUTORIAL, "Accept-Encoding: gzip, deflate"),
    "zstd": post(GRADIENTS, TUTORIAL, "Accept-Encoding: gzip;q=0.5, zstd"),
    "gzip of little": post(GRADIENTS, sum_of_exp(dag=False), "Accept-Encoding: gzip"),
    "gzip of little, and nothing else": post(GRADIENTS, sum_of_exp(dag=False), "Accept-Encoding: gzip, identity;q=0"),
    "gzip of much": post(GRADIENTS, MANY, "Accept-Encoding: gzip"),
    "registered": post(f"{CALLED}/gradients", SENT),
    "registered, with its values": post(f"{CALLED}/forward", {}),
    "after an empty line": b"\r\n" + post(GRADIENTS, TUTORIAL),
    "no JSON": post(GRADIENTS, b"{"),
    "a key twice": post(GRADIENTS, b'{"graph": {}, "graph": {}}'),
    "no op": post(GRADIENTS, request({"x": 1}, op("exq", ["x"], "y"))),
    "no member": post(GRADIENTS, sum_of_exp(nothing=1)),
    "a value": post("/v1/forward", request({"x": tensor([5], dtype="int64")}, op("one_hot", ["x", 2], "y"))),
    "a shape": post(f"{CALLED}/gradients", {"tensors": {"x": [1, 2]}}),
    "no time": post(GRADIENTS, sum_of_exp(timeout_ms=0.0001)),
}
"""Requests that the shortcut answers, by what is special about them."""

GENERAL: dict[str, bytes] = {
    "health": post("/health/live", b"", method="GET"),
    "HEAD": post(GRADIENTS, b"", method="HEAD"),
    "HEAD of a page": post("/v1/limits", b"", method="HEAD"),
    "OPTIONS": post(GRADIENTS, b"", method="OPTIONS"),
    "another method": post(GRADIENTS, TUTORIAL, method="PUT"),
    "another path": post("/v1/gradient", TUTORIAL),
    "a path in other letters": post("/v1/%67radients", TUTORIAL),
    "no graph": post(UNKNOWN, SENT),
    "nothing": post(GRADIENTS, b""),
    "a type": post(GRADIENTS, TUTORIAL, "Content-Type: text/html"),
    "another type accepted": post(GRADIENTS, TUTORIAL, "Accept: text/html"),
    "another coding accepted": post(GRADIENTS, TUTORIAL, "Accept-Encoding: br, identity;q=0"),
    "a compressed body": post(GRADIENTS, gzip.compress(orjson.dumps(TUTORIAL)), "Content-Encoding: gzip"),
    "headers twice": post(GRADIENTS, TUTORIAL, "Accept: application/json", "Accept: text/html"),
    "in two lines": post(GRADIENTS, TUTORIAL, "Accept: application/json", " , text/html"),
    "an id twice": post(GRADIENTS, TUTORIAL, "X-Request-ID: mine", "x-request-id: other"),
    "two traces": post(GRADIENTS, TUTORIAL, f"traceparent: {TRACEPARENT}", f"traceparent: {TRACEPARENT}"),
    "an id in two lines": post(GRADIENTS, TUTORIAL, "X-Request-ID: mine", " too"),
    "an id of control characters": post(GRADIENTS, TUTORIAL, "X-Request-ID: mi\x01ne"),
    "an id with a line feed": post(GRADIENTS, TUTORIAL, "X-Request-ID: mi\nne"),
    "an id with a carriage return": post(GRADIENTS, TUTORIAL, "X-Request-ID: mi\rne"),
    "an id before a colon": post(GRADIENTS, TUTORIAL, "X-Request-ID : mine"),
    "expectations": post(GRADIENTS, TUTORIAL, "Expect: 100-continue"),
    "an upgrade": post(GRADIENTS, TUTORIAL, "Connection: Upgrade", "Upgrade: h2c"),
    "a connection that ends": post(GRADIENTS, TUTORIAL, "Connection: close"),
    "an older client": post(GRADIENTS, TUTORIAL, version="1.0"),
    "an older client that stays": post(GRADIENTS, TUTORIAL, "Connection: keep-alive", version="1.0"),
    "pieces": post(GRADIENTS, b"%x\r\n%b\r\n0\r\n\r\n" % (len(REGISTER), REGISTER), "Transfer-Encoding: chunked"),
    "pieces and a length": post(GRADIENTS, b"0\r\n\r\n", "Transfer-Encoding: chunked", "Content-Length: 5"),
    "two lengths": post(GRADIENTS, b"{}", "Content-Length: 2", "Content-Length: 3"),
    "no length": post(GRADIENTS, b"{}", "Content-Length: two"),
    "less than it says": post(GRADIENTS, b"{}", "Content-Length: 100"),
    "more than it says": post(GRADIENTS, b"{}{}", "Content-Length: 2"),
    "two at once": post(GRADIENTS, TUTORIAL) + post(GRADIENTS, sum_of_exp()),
    "no header": b"POST /v1/gradients HTTP/1.1\r\nHost\r\n\r\n",
    "long lines": post(GRADIENTS, TUTORIAL, f"Cookie: {'x' * 3000}"),
    "a long body": post(GRADIENTS, orjson.dumps(TUTORIAL) + b" " * 70_000),
    "long work": post("/v1/check", sum_of_exp()),
}
"""Requests that go the general way."""


def masked(reply: bytes) -> bytes:
    """Return what a server sent without what is never the same."""
    reply = re.sub(rb"dur=[\d.]+", b"dur=", reply)
    reply = re.sub(rb"(traceresponse: 00-[0-9a-f]{32}-)[0-9a-f]{16}", rb"\1", reply)
    return re.sub(rb"(x-request-id: |\"request_id\":\")[0-9a-f]{32}", rb"\1", reply)


def asked(found: Listening) -> dict[str, bytes]:
    """Return what is answered to each request, asked twice on one connection, once its plan is made."""
    requests = {**SHORT, **GENERAL}
    sent = [(request, request, LEAVE) for request in requests.values()]
    found.exchange(post("/v1/graphs", REGISTER), LEAVE)
    found.exchanges(sent)
    found.taken.clear()
    return dict(zip(requests, map(masked, found.exchanges(sent)), strict=True))


def made(**settings: Any) -> FastAPI:
    return create_app(Settings(concurrency=100, **settings))


@pytest.fixture(scope="module")
def both() -> tuple[dict[str, bytes], dict[str, bytes]]:
    """What is answered with the shortcut and without it."""
    with listening(made()) as short, listening(made(), shortcut=False) as general:
        return asked(short), asked(general)


@pytest.mark.parametrize("name", [*SHORT, *GENERAL])
def test_answers_are_those_of_the_general_way(both: Any, name: str) -> None:
    short, general = (answers[name] for answers in both)
    assert short == general
    assert short.startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize("name", [*SHORT, *GENERAL])
def test_small_calls_alone_are_answered_on_the_spot(
    found: Listening, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.graphs.store.store._BELIEVED_S", math.inf)  # a graph is known from the first call on
    found.exchange({**SHORT, **GENERAL}[name], LEAVE)
    found.taken.clear()
    found.exchange({**SHORT, **GENERAL}[name], LEAVE)
    assert bool(found.taken) == (name in SHORT)


@pytest.fixture(scope="module")
def found() -> Iterator[Listening]:
    with listening(made(body_timeout_ms=300, header_timeout_ms=300)) as found:
        found.exchange(post("/v1/graphs", REGISTER), LEAVE)
        found.exchange(SHORT["registered"], LEAVE)
        yield found


def counted(found: Listening, capsys: pytest.CaptureFixture[str]) -> tuple[list[str], list[Any]]:
    """Return counters and log lines after a few requests, without what took time."""
    names = ("with its DAG", "an id", "registered", "no JSON", "a shape", "no op", "no graph")
    for name in names:
        found.exchange({**SHORT, **GENERAL}[name], LEAVE)
    found.services.access.flush()
    lines = [orjson.loads(line) for line in capsys.readouterr().err.splitlines()]
    for line in lines:
        assert line["ms"] > 0
        assert line["timestamp"]
        line["request_id"] = line["request_id"] if line["request_id"] == "mine" else len(line["request_id"])
    shown = [{name: value for name, value in line.items() if name not in {"ms", "timestamp"}} for line in lines]
    text = found.services.metrics.exposition().decode()
    return [line for line in text.splitlines() if not re.search("bucket|sum|created|#|^process_", line)], shown


def test_counters_and_log_lines_are_those_of_the_general_way(capsys: pytest.CaptureFixture[str]) -> None:
    seen, taken = [], []
    for shortcut in (True, False):
        with listening(made(), shortcut=shortcut) as found:
            found.exchange(post("/v1/graphs", REGISTER), LEAVE)
            seen.append(counted(found, capsys))
            taken.append(found.taken)
    for short, general in zip(*seen, strict=True):
        assert short == general
    assert taken == [[200, 200, 400, 422, 422], []]  # a registered graph is fetched by its first call


def fast_path(found: Listening) -> FastPath:
    shortcut = found.protocol().shortcut
    assert isinstance(shortcut, FastPath)
    return shortcut


def test_heads_that_differ_in_varying_headers_are_parsed_once() -> None:
    with listening(made()) as found:
        found.exchange(SHORT["with its DAG"], LEAVE)
        shortcut = fast_path(found)
        before = shortcut._head.cache_info()
        calls = [
            post(GRADIENTS, TUTORIAL, f"X-Request-ID: {number}", f"traceparent: {number}", f"X-Forwarded-For: {number}")
            for number in range(10)
        ]
        assert found.exchange(*calls, LEAVE).count(b"HTTP/1.1 200 OK") == 11
        after = shortcut._head.cache_info()
        assert (after.misses - before.misses, after.hits - before.hits) == (0, 11)  # the last request is one of them


def test_the_heads_that_are_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.http.fast_path.shortcut._HEADS", 4)
    with listening(made()) as found:
        for number in range(10):
            found.exchange(post(f"{GRADIENTS}?{number}", TUTORIAL), LEAVE)
        shortcut = fast_path(found)
        assert len(found.taken) == 10
        assert len(shortcut._constant) <= 4
        assert shortcut._head.cache_info().currsize <= 4


def test_a_body_that_follows_its_head_is_waited_for_a_moment(found: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = SHORT["with its DAG"]
    for at in (sent.index(b"\r\n\r\n") + 4, len(sent) - 1):
        found.taken.clear()
        monkeypatch.setattr("app.http.fast_path.connection._HOLD_S", 60)
        reply = found.exchange(sent[:at], sent[at:] + sent, LEAVE, pause=0.001)
        assert reply.count(b"HTTP/1.1 200 OK") == 3
        found.exchange(sent[:at], sent[at:], LEAVE, pause=0.001)
        assert found.taken == [200]
        monkeypatch.setattr("app.http.fast_path.connection._HOLD_S", 0)
        found.exchange(sent[:at], sent[at:], LEAVE)
        assert found.taken == [200]


def test_a_body_that_does_not_follow_has_the_bounds_of_bodies(found: Listening) -> None:
    reply = found.exchange(SHORT["with its DAG"][:-1])
    assert reply.startswith(b"HTTP/1.1 408 ")
    assert b"slow_body" in reply


def test_a_client_that_leaves_before_its_body_is_logged(found: Listening, capsys: pytest.CaptureFixture[str]) -> None:
    found.services.access.flush()
    capsys.readouterr()
    found.leaving(SHORT["with its DAG"][:-1])
    found.services.access.flush()
    lines = [orjson.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["code"] for line in lines if "code" in line] == ["client_gone"]


def test_what_looks_like_a_call_inside_of_another_request_is_none(found: Listening) -> None:
    call = SHORT["with its DAG"]
    get = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for beginning in (b"POST /v1/forward HTTP/1.1\r\nContent-Length: 9999\r\n\r\n", get + b"GET / HTTP/1.1\r\nA: "):
        found.taken.clear()
        found.exchange(beginning, call, LEAVE)
        assert not found.taken


@pytest.mark.parametrize("name", ["with its DAG", "registered"])
def test_where_no_slot_is_free_calls_are_refused_as_on_the_general_path(found: Listening, name: str) -> None:
    call = SHORT[name]
    found.exchange(post("/v1/graphs", REGISTER), call, call, LEAVE)
    found.taken.clear()
    slots = found.services.slots
    slots.taken += 1000
    try:
        short, general = (
            found.exchange(sent, LEAVE) for sent in (call, call.replace(b"\r\n", b"\r\nExpect: 100-continue\r\n", 1))
        )
    finally:
        slots.taken -= 1000
    assert found.taken == [503]
    assert masked(short) == masked(general)
    assert short.startswith(b"HTTP/1.1 503 ")


def test_a_connection_closes_when_it_was_not_used_for_long() -> None:
    with listening(made(idle_timeout_s=3)) as found:
        began = time.monotonic()
        reply = found.exchange(SHORT["with its DAG"], SHORT["with its DAG"], pause=0.7)
        assert reply.count(b"HTTP/1.1 200 OK") == 2
        assert time.monotonic() - began > 3.6


class Sent(asyncio.Transport):
    """A transport that keeps what is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.closed = asyncio.Event()

    def write(self, data: Any) -> None:
        assert not self.closed.is_set()
        self.sent.append(data)

    def close(self) -> None:
        self.closed.set()

    def is_closing(self) -> bool:
        return self.closed.is_set()

    def get_write_buffer_size(self) -> int:
        return 0


def test_a_server_that_stops_sends_what_is_computed_and_computes_what_has_arrived(
    found: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.http.fast_path.connection._BRIEF_S", 60)

    async def stop() -> None:
        computed, arrived = Sent(), Sent()
        for transport in (computed, arrived):
            connection = found.protocol()
            connection.connection_made(transport)
            connection.data_received(SHORT["with its DAG"])
            if transport is computed:
                await asyncio.sleep(0)
                assert not transport.sent
            connection.shutdown()
        assert computed.sent[0].startswith(b"HTTP/1.1 200 OK")
        await asyncio.wait_for(arrived.closed.wait(), 20)
        assert arrived.sent[0].startswith(b"HTTP/1.1 200 OK")
        assert computed.closed.is_set()

    found.run(stop())


def test_a_client_that_leaves_before_it_is_answered_disturbs_nobody(
    found: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.http.fast_path.connection._BRIEF_S", 60)

    async def leave() -> None:
        transport = Sent()
        connection = found.protocol()
        connection.connection_made(transport)
        connection.data_received(SHORT["with its DAG"])
        await asyncio.sleep(0)
        transport.close()
        connection.connection_lost(None)
        await asyncio.sleep(0.01)
        assert not transport.sent

    found.run(leave())


def test_pages_of_other_origins_are_answered_on_the_general_way() -> None:
    call = post(GRADIENTS, TUTORIAL, "Origin: https://example.org")
    with listening(made(cors_origins=["https://example.org"])) as found:
        assert b"access-control-allow-origin: https://example.org" in found.exchange(call, LEAVE)
        assert not found.taken


def test_a_defect_is_answered_and_logged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("secret")

    with listening(made()) as found, capture_logs() as lines:
        monkeypatch.setattr(found.services.dispatcher, "at_once", fail)
        reply = found.exchange(SHORT["with its DAG"], LEAVE)
    assert reply.startswith(b"HTTP/1.1 500 Internal Server Error")
    assert b"secret" not in reply
    assert [line["event"] for line in lines] == ["failed"]


def test_a_graph_that_another_process_deletes_is_gone_within_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("app.graphs.store.store.time", clock)
    with listening(made(store=tmp_path / "graphs.sqlite")) as found:
        found.exchange(post("/v1/graphs", REGISTER), LEAVE)
        for _ in range(2):  # the first call fetches the graph
            assert found.exchange(SHORT["registered"], LEAVE).count(b"HTTP/1.1 200 OK") == 2
        assert found.taken == [200]
        other = Store(Settings(store=tmp_path / "graphs.sqlite"))
        assert other.delete(CALLED.rpartition("/")[2])
        clock.now += 1
        assert found.exchange(SHORT["registered"], LEAVE).startswith(b"HTTP/1.1 404 ")


def test_a_deleted_graph_is_gone_at_once() -> None:
    with listening(made()) as found:
        found.exchange(post("/v1/graphs", REGISTER), LEAVE)
        found.exchange(SHORT["registered"], SHORT["registered"], LEAVE)
        found.exchange(post(CALLED, b"", method="DELETE"), LEAVE)
        assert found.exchange(SHORT["registered"], LEAVE).startswith(b"HTTP/1.1 404 ")
