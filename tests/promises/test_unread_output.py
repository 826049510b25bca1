"""Output that nobody reads holds neither the server nor its workers."""

import os
import re
import signal
import socket
import subprocess
import sys

import httpx
from structlog.testing import capture_logs

from tests.app.bodies import sum_of_exp
from tests.promises.conftest import Faulty
from tests.promises.planted import SEEDS
from tests.serving import CHECKOUT, PATIENCE_S, free_port, wait_until_live

REQUESTS = 3000
"""About ten times as many as fill the pipe."""

TOGETHER = 50
"""Requests that are sent before their answers are awaited."""


def test_a_server_whose_output_is_not_read_serves_counts_tells_and_ends() -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "app", "serve", "--port", str(port)]
    environment = {**os.environ, "GRADD_CONCURRENCY": "1"}
    with subprocess.Popen(command, cwd=CHECKOUT, env=environment, stdout=writer, stderr=writer) as process:
        os.close(writer)
        try:
            wait_until_live(url, seconds=PATIENCE_S)
            dropped = 0
            with httpx.Client(base_url=url, trust_env=False, timeout=PATIENCE_S) as client:
                while not dropped:
                    _get_many(port)
                    metrics = client.get("/metrics").text
                    found = re.search(r"^gradd_log_lines_dropped_total ([0-9.e+]+)$", metrics, re.MULTILINE)
                    assert found
                    dropped = int(float(found[1]))
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
    os.close(reader)


def _get_many(port: int) -> None:
    """Send requests with long paths and ids on one connection, and wait for all answers."""
    head = f"GET /{'x' * 250} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Request-ID: {'y' * 128}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        for _ in range(REQUESTS // TOGETHER):
            connection.sendall(head * TOGETHER)
            received = b""
            while received.count(b"HTTP/1.1 404 ") < TOGETHER:
                data = connection.recv(2**16)
                assert data
                received += data


def test_what_a_worker_writes_is_logged_and_holds_it_not(faulty: Faulty) -> None:
    with faulty() as client, capture_logs() as lines:
        assert client.post("/v1/gradients", sum_of_exp(seed=SEEDS["write"])).status_code == 200
        client.until(lambda: any("line 1999" in line.get("text", "") for line in lines))
    text = "".join(line["text"] for line in lines if line["event"] == "output of a worker process")
    assert [line.split(" ")[1] for line in text.splitlines()] == [str(number) for number in range(2000)]
