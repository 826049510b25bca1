"""What nginx does with a call that fails on one replica. The replicas are stubs: one fails as it is told, the other
replies with the body that it got.
"""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.scale.replicas import balancer
from tests.serving import PATIENCE_S, free_port

pytestmark = pytest.mark.scale

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ENOUGH = 6
"""Calls of which nginx gives the first replica some."""


@dataclass(frozen=True)
class Request:
    """A request as a replica gets it."""

    head: str
    body: bytes

    def header(self, name: str) -> str:
        lines = [line.partition(": ") for line in self.head.splitlines()]
        return next((value for found, _, value in lines if found.lower() == name), "")


Answer = Callable[[socket.socket, Request], None]


def reply(status: int) -> Answer:
    def answer(connection: socket.socket, request: Request) -> None:
        head = f"HTTP/1.1 {status} As told\r\nContent-Length: {len(request.body)}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode() + request.body)

    return answer


def no_reply(connection: socket.socket, request: Request) -> None:
    """Close the connection instead of a reply."""


def reset(connection: socket.socket, request: Request) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def half_a_head(connection: socket.socket, request: Request) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")


@dataclass
class Stub:
    """A server that answers every request in the same way, and keeps what it got."""

    answer: Answer
    requests: list[Request] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[int]:
        """Listen; gives the port."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=self._serve, args=[listener])
            thread.start()
            try:
                yield listener.getsockname()[1]
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                thread.join()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                request = _read(connection)
                if request is not None:
                    self.requests.append(request)
                    self.answer(connection, request)


def _read(connection: socket.socket) -> Request | None:
    """Read one request with a declared length; None if the connection ends before."""
    with connection.makefile("rb") as stream:
        lines = list(iter(stream.readline, b"\r\n")) if stream.peek() else []
        request = Request(b"".join(lines).decode(), b"")
        return Request(request.head, stream.read(int(request.header("content-length") or 0))) if lines else None


@contextmanager
def behind_nginx(folder: Path, *replicas: Stub, absent: int = 0) -> Iterator[httpx.Client]:
    """Put replicas, and ports on which nobody listens, behind nginx."""
    with ExitStack() as stack:
        ports = [*(free_port() for _ in range(absent)), *(stack.enter_context(each.running()) for each in replicas)]
        url = stack.enter_context(balancer(ports, folder))
        yield stack.enter_context(httpx.Client(base_url=url, trust_env=False, timeout=PATIENCE_S))


def posted(client: httpx.Client, size: int = 100) -> list[httpx.Response]:
    """POST different bodies and return the replies."""
    headers = {"traceparent": TRACE, "content-type": "application/json"}
    return [client.post("/v1/forward", content=bytes([n]) * size, headers=headers) for n in range(ENOUGH)]


@pytest.mark.parametrize("size", [100, 1_000_000])
@pytest.mark.parametrize(
    "failure", [no_reply, reset, half_a_head, reply(502), reply(503)], ids=["silence", "reset", "half", "502", "503"]
)
def test_a_call_that_fails_on_one_replica_is_answered_by_another(tmp_path: Path, failure: Answer, size: int) -> None:
    bad, good = Stub(failure), Stub(reply(200))
    with behind_nginx(tmp_path, bad, good) as client:
        replies = posted(client, size)
    assert [(reply.status_code, reply.content) for reply in replies] == [
        (200, bytes([n]) * size) for n in range(ENOUGH)
    ]
    assert bad.requests
    assert len(good.requests) == ENOUGH
    twice = {request.header("x-request-id"): request for request in bad.requests}
    for request in good.requests:
        first = twice.pop(request.header("x-request-id"), request)
        assert first == request
        assert request.header("traceparent") == TRACE
    assert not twice


def test_a_replica_that_is_absent_is_left_out(tmp_path: Path) -> None:
    good = Stub(reply(200))
    with behind_nginx(tmp_path, good, absent=1) as client:
        assert {answered.status_code for answered in posted(client)} == {200}


@pytest.mark.parametrize("status", [404, 422, 429, 500, 504])
def test_an_answer_is_not_asked_for_twice(tmp_path: Path, status: int) -> None:
    replicas = [Stub(reply(status)), Stub(reply(status))]
    with behind_nginx(tmp_path, *replicas) as client:
        replies = posted(client)
    assert [(reply.status_code, reply.content) for reply in replies] == [
        (status, bytes([n]) * 100) for n in range(ENOUGH)
    ]
    assert sum(len(replica.requests) for replica in replicas) == ENOUGH


def test_a_call_is_sent_to_two_replicas_at_most(tmp_path: Path) -> None:
    replicas = [Stub(reply(503)) for _ in range(4)]
    with behind_nginx(tmp_path, *replicas) as client:
        replies = posted(client)
    # The replica's own answer, as gradd's has more to say.
    assert [(reply.status_code, reply.content) for reply in replies] == [(503, bytes([n]) * 100) for n in range(ENOUGH)]
    assert sum(len(replica.requests) for replica in replicas) == 2 * ENOUGH


def test_without_a_replica_the_answer_is_a_problem(tmp_path: Path) -> None:
    with behind_nginx(tmp_path, absent=2) as client:
        (first, *_) = posted(client)
    assert (first.status_code, first.headers["retry-after"]) == (503, "1")
    assert first.headers["content-type"] == "application/problem+json"
    document = first.json()
    assert (document["code"], document["status"]) == ("busy", 503)
    assert document["request_id"] == first.headers["x-request-id"]


@pytest.mark.parametrize("given", ["an-id.of:mine", 'no"json', "a" * 8])
def test_the_request_id_is_the_clients_or_a_new_one(tmp_path: Path, given: str) -> None:
    with behind_nginx(tmp_path, absent=1) as client:
        found = client.get("/", headers={"x-request-id": given}).json()["request_id"]
    assert (found == given) == ('"' not in given)


def test_senders_that_stop_halfway_reach_no_replica(tmp_path: Path) -> None:
    replica = Stub(reply(200))
    with behind_nginx(tmp_path, replica) as client, ExitStack() as stack:
        for _ in range(200):
            sender = stack.enter_context(socket.create_connection(("127.0.0.1", client.base_url.port or 0)))
            sender.sendall(b"POST /v1/forward HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        assert {answered.status_code for answered in posted(client)} == {200}
    assert len(replica.requests) == ENOUGH


def test_a_body_over_the_limit_reaches_no_replica(tmp_path: Path) -> None:
    replica = Stub(reply(200))
    head = b"POST /v1/forward HTTP/1.1\r\nHost: localhost\r\nContent-Length: 134217729\r\n\r\n"
    with behind_nginx(tmp_path, replica) as client, ExitStack() as stack:
        sender = stack.enter_context(socket.create_connection(("127.0.0.1", client.base_url.port or 0)))
        sender.sendall(head)
        refused = sender.recv(65536)
    assert refused.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"body_too_large"' in refused
    assert not replica.requests
