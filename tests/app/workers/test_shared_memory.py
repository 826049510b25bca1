"""Segments: one call's alone, kept for the next one, and never seen by another."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import orjson
import pytest

from app.evaluation.evaluator import Call, Evaluator
from app.settings import Settings
from app.wire.codec import CODECS, JSON, MSGPACK, Codec
from app.workers import shared_memory as shared
from app.workers.shared_memory import LARGE, Lease, Mappings, Segments, SharedMapping
from tests.app.bodies import op, request
from tests.app.http.test_server import everything, serving
from tests.serving import PATIENCE_S

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no such memory")


def acquired(segments: Segments, size: int = 10) -> Lease:
    lease = segments.acquire(size)
    assert lease is not None
    return lease


def number_of(lease: Lease) -> Any:
    return lease.describe(set())[0]["number"]


def test_a_segment_is_one_calls_until_the_last_view_is_gone() -> None:
    segments = Segments(1000)
    lease = acquired(segments)
    first = number_of(lease)
    reply = lease.reply(10, 20)
    lease.end()
    assert number_of(acquired(segments)) != first
    part = memoryview(reply)[2:]
    del reply, lease
    assert number_of(acquired(segments)) != first
    del part
    assert number_of(acquired(segments)) == first


def test_a_segment_that_somebody_may_write_to_is_not_lent_again() -> None:
    segments = Segments(1000)
    lease = acquired(segments)
    first = number_of(lease)
    lease.spoil()
    del lease
    again = acquired(segments)
    assert number_of(again) != first
    assert again.describe({first})[0]["closed"] == [first]


def test_little_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "KEPT", 100)
    segments = Segments(1000)
    leases = [acquired(segments, 60), acquired(segments, 40), acquired(segments, 1)]
    del leases
    assert sum(segment.used for segment in segments._free) <= 100
    segments.close()
    assert not segments._free
    assert segments.acquire(1) is None


def test_a_body_larger_than_the_largest_gets_none() -> None:
    assert Segments(1000).acquire(1001) is None


def test_a_system_without_such_memory_lends_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    assert Segments(1000).acquire(10) is None


def test_a_refusal_of_the_system_lends_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "ftruncate", lambda *_: os.close(-1))
    assert Segments(1000).acquire(10) is None


def test_a_worker_sees_the_body_and_the_server_the_reply() -> None:
    lease = acquired(Segments(1000), 3)
    lease.body[:] = b"abc"
    description, descriptors = lease.describe(set())
    mapping = Mappings().mapping(description, [os.dup(number) for number in descriptors])
    assert bytes(mapping.body) == b"abc"
    assert bytes(mapping.put([b"de", memoryview(b"f")])) == b"def"
    assert mapping.reply_range is not None
    assert bytes(lease.reply(*mapping.reply_range)) == b"def"
    assert bytes(lease.body) == b"abc"


def test_a_reply_that_finds_no_room_is_joined_elsewhere() -> None:
    mapping = SharedMapping(memoryview(bytearray(4096 + 5)), 10)
    assert mapping.put([b"123", b"456", b"789"]) == b"123456789"
    assert mapping.reply_range is None


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(concurrency=2, max_body_bytes=2**24) as (_, words):
        yield words[1]


def squares(size: int, codec: Codec, encoding: str, seed: int = 0) -> bytes:
    """A request whose reply has as many numbers as itself."""
    x = np.random.default_rng(seed).standard_normal(size)
    members = {"x": x}
    if codec is MSGPACK:
        tensor = {"data": x.tobytes(), "shape": [size], "requires_grad": True}
    else:
        data = orjson.loads(JSON.write(members, encoding))["x"]
        tensor = {"data": data["data"], "shape": [size], "dtype": "float64", "requires_grad": True}
    graph = request({"x": tensor}, op("exp", ["x"], "y"), op("sum", ["y"], "t"), encoding=encoding, outputs=["t", "x"])
    return codec.write(graph, "json") if codec is MSGPACK else orjson.dumps(graph)


@pytest.mark.parametrize("media_type", CODECS)
@pytest.mark.parametrize("encoding", ["json", "base64"])
def test_replies_are_those_of_their_own_requests(url: str, media_type: str, encoding: str) -> None:
    """One after the other on the same segment, large ones before small ones, each byte is as it is without one."""
    codec, evaluator = CODECS[media_type], Evaluator(Settings())
    headers = {"content-type": media_type, "accept": media_type, "accept-encoding": "identity"}
    with httpx.Client(trust_env=False, timeout=PATIENCE_S) as client:
        for seed, size in enumerate((200_000, 70_000, 100_000, 40_000, 50_000)):
            body = squares(size, codec, encoding, seed)
            assert len(body) > LARGE
            reply = client.post(url, content=body, headers=headers)
            assert reply.status_code == 200
            assert reply.content == evaluator.answer(Call("gradients", body, codec, codec)).body


def test_replies_at_the_same_time_are_not_mixed_up(url: str) -> None:
    bodies = [squares(40_000 + 3000 * seed, JSON, "base64", seed) for seed in range(6)]
    found: dict[int, bytes] = {}

    def ask(index: int) -> None:
        for _ in range(3):
            found[index] = httpx.post(url, content=bodies[index], trust_env=False, timeout=PATIENCE_S).content

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    evaluator = Evaluator(Settings())
    assert [found[index] for index in range(6)] == [evaluator.answer(Call("gradients", body)).body for body in bodies]


def test_a_problem_is_answered(url: str) -> None:
    body = squares(50_000, JSON, "json").replace(b'"exp"', b'"nope"')
    for _ in range(2):
        reply = httpx.post(url, content=body, trust_env=False, timeout=PATIENCE_S)
        assert (reply.status_code, reply.json()["code"]) == (422, "invalid_request")


def connected(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=PATIENCE_S)


def head(size: int, *lines: str, path: str = "/v1/gradients") -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {size}", *lines, "", ""]).encode()


GET = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("begun", [0, 1, 1000, 100_000])
def test_the_next_request_may_follow_at_once(url: str, begun: int) -> None:
    body = squares(50_000, JSON, "base64")
    with connected(url) as connection:
        connection.sendall(head(len(body)) + body[:begun])
        time.sleep(0.05)
        connection.sendall(body[begun:] + head(len(body)) + body + GET)
        received = everything(connection)
    assert received.count(b"HTTP/1.1 200 OK") == 3


def test_a_client_that_waits_to_be_told_is_told_to_go_on(url: str) -> None:
    body = squares(50_000, JSON, "base64")
    with connected(url) as connection:
        connection.sendall(head(len(body), "Expect: 100-continue", "Connection: close"))
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert everything(connection).startswith(b"HTTP/1.1 200 OK")


def test_a_body_that_nobody_reads_is_read_past(url: str) -> None:
    with connected(url) as connection:
        connection.sendall(head(LARGE, path="/nope") + b"x" * LARGE + GET)
        received = everything(connection)
    assert received.startswith(b"HTTP/1.1 404 ")
    assert b"HTTP/1.1 200 OK" in received


def test_a_body_beyond_the_limit_is_refused_before_it_comes(url: str) -> None:
    with connected(url) as connection:
        connection.sendall(head(2**24 + 1))
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_a_large_body_that_stops_half_way_is_not_waited_for() -> None:
    with serving(concurrency=1, body_timeout_ms=400) as (_, words), connected(words[1]) as connection:
        connection.sendall(head(LARGE) + b"x")
        received = everything(connection)
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b"slow_body" in received


def test_clients_that_leave_half_way_leave_nothing() -> None:
    body = squares(50_000, JSON, "base64")
    with serving(concurrency=1) as (process, words):
        before = segments_of(process.pid)
        for _ in range(4):
            with connected(words[1]) as connection:
                connection.sendall(head(len(body)) + body[: len(body) // 2])
                time.sleep(0.05)
            time.sleep(0.05)
        assert httpx.post(words[1], content=body, trust_env=False, timeout=PATIENCE_S).status_code == 200
        assert len(segments_of(process.pid) - before) == 1
        process.terminate()
        _, errors = process.communicate(timeout=PATIENCE_S)
    lines = [json.loads(line) for line in errors.splitlines()]
    assert [line.get("code") for line in lines if line["event"] == "request"] == ["client_gone"] * 4 + [None]


def segments_of(process: int) -> set[int]:
    """The segments that a process has open, by the numbers of their files."""
    found = set()
    for path in Path(f"/proc/{process}/fd").iterdir():
        try:
            if "gradd" in str(path.readlink()):
                found.add(path.stat().st_ino)
        except OSError:
            continue
    return found
