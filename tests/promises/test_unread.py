"""Clients that do not read their replies are disconnected, and hold neither slots nor bytes after that."""

from __future__ import annotations

import socket
import time
from contextlib import suppress

import httpx
import orjson

from tests.app.http.test_server import address_of, everything, serving
from tests.serving import PATIENCE_S

MIB = 2**20
CLIENTS = 30


def asking(*, size: int = 8, seconds: float = 0) -> bytes:
    """Return a request for a reply of about so many bytes, in base64, or one that takes so many seconds."""
    ops: list[dict[str, object]] = [{"op": "expand", "inputs": ["x", [size * 3 // 4 // 8]], "output": "y"}]
    graph: dict[str, object] = {"tensors": {"x": [1.5]}, "ops": ops}
    if seconds:  # a product of two matrices of 4096 rows takes over a second
        ops[0]["inputs"] = ["x", [4096, 4096]]
        ops += [{"op": "matmul", "inputs": [f"y{i or ''}", "y"], "output": f"y{i + 1}"} for i in range(int(seconds))]
        ops.append({"op": "sum", "inputs": [f"y{int(seconds)}"], "output": "z"})
    output = "z" if seconds else "y"
    body = orjson.dumps({"graph": graph, "outputs": [output], "dag": False, "encoding": "base64"})
    lines = ["POST /v1/forward HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def connected(words: list[str], sent: bytes) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
    connection.settimeout(PATIENCE_S)
    connection.connect(address_of(words))
    connection.sendall(sent)
    return connection


def in_flight(words: list[str]) -> dict[str, float]:
    """Return the requests and the bytes in flight, as the counters say."""
    text = httpx.get(words[1].replace("/v1/gradients", "/metrics"), trust_env=False, timeout=PATIENCE_S).text
    lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
    return {line[0]: float(line[1]) for line in lines if line[0] in {"gradd_inflight", "gradd_bytes_in_flight"}}


def until(words: list[str], requests: float) -> float:
    """Wait until so many requests are in flight, and return their bytes."""
    latest = time.monotonic() + PATIENCE_S
    while (found := in_flight(words))["gradd_inflight"] != requests + 1:
        assert time.monotonic() < latest, found
        time.sleep(0.1)
    return found["gradd_bytes_in_flight"]


def test_clients_that_read_nothing_are_disconnected() -> None:
    size = 24 * MIB
    with serving(write_timeout_ms=2000, queue=1, concurrency=2, max_bytes_in_flight=200 * MIB) as (_, words):
        clients = []
        for _ in range(CLIENTS):
            client = connected(words, asking(size=size))
            clients.append((client, client.recv(12)))
        statuses = [status for _, status in clients]
        assert statuses.count(b"HTTP/1.1 200") >= 8
        assert set(statuses) <= {b"HTTP/1.1 200", b"HTTP/1.1 503"}
        assert until(words, 0) == 0
        for client, status in clients:
            if status == b"HTTP/1.1 200":
                with suppress(ConnectionError):
                    assert len(everything(client)) < size
            client.close()
        with connected(words, asking(size=size)) as client:
            assert client.recv(12) == b"HTTP/1.1 200"


def test_a_client_that_reads_slowly_gets_its_whole_reply() -> None:
    size = 8 * MIB
    with serving(write_timeout_ms=500, min_body_rate=1024) as (_, words):
        with connected(words, asking(size=size).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)) as client:
            received = 0
            while data := client.recv(2**20):
                received += len(data)
                time.sleep(min(0.2, 4 * len(data) / size))
        assert received > size
