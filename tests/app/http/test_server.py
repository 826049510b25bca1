"""The service as a process: what it prints, what it does with clients that stop half-way, how it stops."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from app.__main__ import curl_line
from tests.app.bodies import op, request, wanted
from tests.serving import PATIENCE_S, free_port

_LAYERS = [op("sin", ["x" if not index else f"s{index - 1}"], f"s{index}") for index in range(60)]
HEAVY = json.dumps(
    request({"x": wanted([[1.0] * 1000] * 200)}, *_LAYERS, op("sum", ["s59"], "t"), outputs=["t"], dag=False)
).encode()
"""A request that takes some tenths of a second."""


@contextmanager
def serving(**settings: Any) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Start the service on a free port; give the process and the command that it prints, as words."""
    environment = {**os.environ, **{f"GRADD_{name.upper()}": str(value) for name, value in settings.items()}}
    command = [sys.executable, "-m", "app", "serve", "--port", "0"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process, shlex.split(process.stdout.readline())
        finally:
            process.kill()


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    with serving(max_header_bytes=4096) as (_, words):
        yield address_of(words)


@pytest.fixture(scope="module")
def impatient() -> Iterator[tuple[str, int]]:
    """The address of a server that does not wait long for the rest of a request."""
    with serving(header_timeout_ms=400, body_timeout_ms=400) as (_, words):
        yield address_of(words)


def address_of(words: list[str]) -> tuple[str, int]:
    """Return the host and the port of the server that printed these words."""
    url = urlsplit(words[1])
    assert url.hostname
    assert url.port
    return url.hostname, url.port


def exchange(address: tuple[str, int], *parts: bytes, pause: float = 0) -> bytes:
    """Send parts of a request and return all that is answered until the server closes the connection."""
    with socket.create_connection(address, timeout=PATIENCE_S) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        return everything(connection)


def everything(connection: socket.socket) -> bytes:
    """Return all that arrives until the server closes the connection."""
    received = b""
    while data := connection.recv(65536):
        received += data
    return received


def test_the_command_that_it_prints_works() -> None:
    with serving() as (_, words):
        assert words[0] == "curl"
        header, body = words[words.index("-H") + 1], words[words.index("-d") + 1]
        name, _, value = header.partition(": ")
        reply = httpx.post(words[1], content=body, headers={name: value}, trust_env=False)
        assert reply.status_code == 200
        assert set(reply.json()["gradients"]) == {"w", "b"}


def test_the_command_that_it_prints_calls_the_published_port() -> None:
    with serving(published_port=9000) as (_, words):
        assert words[1] == "http://127.0.0.1:9000/v1/gradients"


def test_metrics_have_a_port_of_their_own_without_a_key(tmp_path: Path) -> None:
    file, port = tmp_path / "keys.json", free_port()
    file.write_text('{"keys": []}')
    with serving(metrics_port=port, keys_file=file) as (process, words):
        assert "authorization: Bearer KEY" in words
        url, metrics = words[1].removesuffix("/v1/gradients"), f"http://127.0.0.1:{port}"

        def status(address: str, host: str = "") -> int:
            headers = {"Host": host} if host else {}
            return httpx.get(address, headers=headers, trust_env=False, timeout=PATIENCE_S).status_code

        paths = ("/metrics", "/health/ready", "/v1/limits", "/docs")
        assert [status(metrics + path) for path in paths] == [200, 200, 404, 404]
        assert [status(url + path) for path in paths] == [404, 200, 401, 401]
        assert status(f"{metrics}/metrics", "evil.example") == 421
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=PATIENCE_S) == 0


def test_a_port_of_metrics_that_is_taken_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setenv("GRADD_METRICS_PORT", str(port))
        done = refusal("--port", "0")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"Port {port} of 127.0.0.1 is taken by another program. ")


def refusal(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What a server prints that cannot start."""
    command = [sys.executable, "-m", "app", "serve", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def test_a_port_that_is_taken_is_named_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = refusal("--port", str(port))
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"Port {port} of 127.0.0.1 is taken by another program. ")
    assert "make run PORT=" in line
    assert "gradd serve --port" in line


def test_an_address_that_is_another_machine_s_is_named_in_one_line() -> None:
    done = refusal("--host", "192.0.2.1", "--port", "0")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("Port 0 of 192.0.2.1 cannot be listened on: ")


def test_the_command_has_no_quote_that_a_shell_would_read() -> None:
    assert curl_line("http://h").count("'") == 4


def test_log_lines_are_json_on_standard_error_and_it_stops_with_status_0() -> None:
    with serving() as (process, words):
        httpx.get(words[1].replace("/v1/gradients", "/v1/limits"), trust_env=False)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0
    lines = [json.loads(line) for line in errors.splitlines()]
    assert [line["path"] for line in lines if line["event"] == "request"] == ["/v1/limits"]
    assert all({"level", "timestamp", "event"} <= set(line) for line in lines)


def send_heavy(words: list[str]) -> socket.socket:
    """Send the heavy request to the server that printed these words, once the server has begun to answer it."""
    connection = socket.create_connection(address_of(words), timeout=PATIENCE_S)
    lines = [
        "POST /v1/gradients HTTP/1.1",
        "Host: localhost",
        f"Content-Length: {len(HEAVY)}",
        "Expect: 100-continue",
        "",
        "",
    ]
    connection.sendall("\r\n".join(lines).encode())
    assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.sendall(HEAVY)
    return connection


def test_what_is_in_flight_is_finished_before_it_stops() -> None:
    with serving() as (process, words), send_heavy(words) as connection:
        process.send_signal(signal.SIGTERM)
        assert everything(connection).startswith(b"HTTP/1.1 200 OK")
        assert process.wait(timeout=PATIENCE_S) == 0


def test_a_client_that_leaves_is_not_waited_for() -> None:
    with serving() as (process, words):
        send_heavy(words).close()
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=PATIENCE_S)
    lines = [json.loads(line) for line in errors.splitlines()]
    assert [line["code"] for line in lines if line["event"] == "request"] == ["client_gone"]


def test_half_sent_headers_are_not_waited_for(impatient: tuple[str, int]) -> None:
    for parts in (
        (b"",),
        (b"GET / HT",),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ", b"1"),
        (b"\r\n", b"\r\n", b"\r\n"),
    ):
        received = exchange(impatient, *parts, pause=0.1)
        assert received.startswith(b"HTTP/1.1 408 ")
        assert b"slow_headers" in received


def test_a_half_sent_body_is_not_waited_for(impatient: tuple[str, int]) -> None:
    received = exchange(impatient, b"POST /v1/gradients HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b"slow_body" in received


def test_a_body_that_nobody_reads_does_not_hold_the_connection(impatient: tuple[str, int]) -> None:
    parts = [b"POST /nope HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n", *[b"x"] * 10]
    assert exchange(impatient, *parts, pause=0.01).startswith(b"HTTP/1.1 404 ")


def test_large_headers_are_refused(address: tuple[str, int]) -> None:
    whole = b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"y" * 5000 + b"\r\n\r\n"
    endless = [b"GET / HTTP/1.1\r\n"] + [b"X-A: " + b"y" * 1000 + b"\r\n"] * 5
    for parts in ([b"GET /" + b"x" * 5000], endless, [whole], [whole[:100], whole[100:]]):
        received = exchange(address, *parts)
        assert received.startswith(b"HTTP/1.1 431 ")
        assert b"headers_too_large" in received


@pytest.mark.parametrize("cut", [0, 20, 97, 98, 4000])
def test_a_body_larger_than_headers_may_be_comes_with_its_head(address: tuple[str, int], cut: int) -> None:
    body = b'{"graph": {"tensors": {"x": [1]}, "ops": []}, "outputs": ["x"]}'.ljust(9000)
    head = b"POST /v1/forward HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: 9000\r\n\r\n"
    request = head + body
    assert exchange(address, request[:cut], request[cut:], pause=0.05).startswith(b"HTTP/1.1 200 ")


def test_a_connection_serves_many_requests(address: tuple[str, int]) -> None:
    get = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    close = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert exchange(address, get, get, get + get, close, pause=0.15).count(b"HTTP/1.1 200 OK") == 5


def test_malformed_http_is_refused(address: tuple[str, int]) -> None:
    assert exchange(address, b"\x16\x03\x01\x02\x00\x01\x00").startswith(b"HTTP/1.1 400 ")
