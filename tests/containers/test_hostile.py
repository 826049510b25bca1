"""The container with the memory limit of docker-compose.yml under attack: the kernel kills no process in it, it does
not restart, and it answers afterwards.

Every request comes from another address, as X-Forwarded-For says, so that no bound of one client's bytes helps.
"""

import gzip
import itertools
import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import zstandard

from tests.containers.runner import run
from tests.serving import PATIENCE_S, free_port, post_tutorial, wait_until_live

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1500)]

MIB = 2**20
AT_ONCE = 16

# Runs the service as the image does, and tells what the kernel says of the container: processes killed for memory, and
# the highest use. A runner's `exec` would do, but not every runner has it.
WATCH = """
import http.server, json, os, subprocess, sys, threading
from pathlib import Path

group = Path("/sys/fs/cgroup")
two = (group / "memory.events").exists()
events = group / ("memory.events" if two else "memory/memory.oom_control")
peak = group / ("memory.peak" if two else "memory/memory.max_usage_in_bytes")

class State(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        words = events.read_text().split()
        killed = int(words[words.index("oom_kill") + 1])
        highest = int(peak.read_text()) if peak.exists() else 0
        body = json.dumps({"killed": killed, "process": [os.getpid(), began], "peak": highest}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

began = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
server = subprocess.Popen(["gradd", "serve", "--host", "0.0.0.0", "--port", "8000"])
watch = http.server.ThreadingHTTPServer(("0.0.0.0", 8001), State)
threading.Thread(target=watch.serve_forever, daemon=True).start()
sys.exit(server.wait())
"""


def override(watched: int) -> str:
    """Return what differs from docker-compose.yml."""
    environment = {"GRADD_TRUSTED_PROXIES": '["0.0.0.0/0"]'}
    service = {
        "entrypoint": ["python", "-c", WATCH],
        "environment": environment,
        "ports": [f"127.0.0.1:{watched}:8001"],
    }
    return json.dumps({"services": {"gradd": service}})


class Target:
    """The container, and its limits as GET /v1/limits has them."""

    def __init__(self, port: int, watched: int, files: list[str]) -> None:
        self.port, self._watched = port, watched
        self.url = f"http://127.0.0.1:{port}"
        self._files = files
        self._clients = itertools.count(1)

    def compose(self, *arguments: str) -> str:
        return run("compose", *self._files, *arguments, GRADD_PORT=str(self.port))

    def limit(self, name: str) -> int:
        return int(httpx.get(f"{self.url}/v1/limits", trust_env=False, timeout=PATIENCE_S).json()[name]["value"])

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"http://127.0.0.1:{self._watched}", trust_env=False, timeout=600).json()
        return found

    def address(self) -> dict[str, str]:
        """Return the headers of another client."""
        number = next(self._clients)
        return {"X-Forwarded-For": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"}

    def post(self, path: str, body: bytes, **headers: str) -> int:
        """POST, and return the status; 0 if the connection ended."""
        try:
            return httpx.post(
                f"{self.url}{path}",
                content=body,
                headers={"Content-Type": "application/json", **self.address(), **headers},
                trust_env=False,
                timeout=PATIENCE_S,
            ).status_code
        except httpx.TransportError:
            return 0

    def begun(self, stack: ExitStack, size: int, path: str = "/v1/forward") -> socket.socket:
        """Return a connection with the head of a POST request, and no byte of its body."""
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S))
        (address,) = self.address().values()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {address}\r\nContent-Length: {size}\r\n\r\n"
        )
        connection.sendall(head.encode())
        return connection

    def together(self, work: Callable[[int], int], times: int) -> list[int]:
        """Run work in as many threads, and return what each gave."""
        with ThreadPoolExecutor(times) as threads:
            return list(threads.map(work, range(times)))


@pytest.fixture(scope="module")
def target(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    watched = free_port()
    differs: Path = tmp_path_factory.mktemp("compose") / "override.json"
    differs.write_text(override(watched))
    # A project of its own, so that it has a volume of its own to remove.
    files = ["--project-name", "gradd-hostile", "-f", "docker-compose.yml", "-f", str(differs)]
    made = Target(free_port(), watched, files)
    made.compose("up", "--detach", "--no-build")
    try:
        wait_until_live(made.url, seconds=PATIENCE_S)
        yield made
    finally:
        made.compose("down", "--volumes")


def graph(tensors: Any, *ops: tuple[str, list[Any], str], **members: Any) -> bytes:
    listed = [{"op": name, "inputs": inputs, "output": output} for name, inputs, output in ops]
    return json.dumps({"graph": {"tensors": tensors, "ops": listed}, **members}).encode()


def bombs(target: Target) -> None:
    """Bodies that inflate to a gigabyte."""
    gzipped = gzip.compress(bytes(256 * MIB))
    zipped = zstandard.ZstdCompressor().compress(bytes(1024 * MIB))
    sent = [("gzip", gzipped), ("zstd", zipped)]

    def one(n: int) -> int:
        coding, body = sent[n % 2]
        return target.post("/v1/gradients", body, **{"Content-Encoding": coding})

    assert set(target.together(one, AT_ONCE)) <= {413, 503}


def inflated(target: Target) -> None:
    """Small bodies that inflate to the largest that is taken, with as many numbers as fit."""
    start, end = (
        b'{"graph":{"dtype":"float64","tensors":{"x":[',
        b'0]},"ops":[{"op":"exp","inputs":["x"],"output":"y"}]}}',
    )
    room = target.limit("max_body_bytes") - len(start) - len(end)
    body = zstandard.ZstdCompressor().compress(start + b"0," * (room // 2) + end)
    statuses = target.together(lambda n: target.post("/v1/forward", body, **{"Content-Encoding": "zstd"}), AT_ONCE)
    assert set(statuses) <= {200, 422, 503, 504}


def slow_senders(target: Target) -> None:
    """Bodies of which one byte comes."""
    with ExitStack() as stack:
        for _ in range(500):
            target.begun(stack, 100).sendall(b"{")
        post_tutorial(target.url)


def slow_heads(target: Target) -> None:
    with ExitStack() as stack:
        for _ in range(500):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", target.port)))
            connection.sendall(b"GET / HTTP/1.1\r\nX: " + b"a" * 30_000)
        post_tutorial(target.url)


def half_uploads(target: Target) -> None:
    """The largest bodies, all but the last byte, kept open together."""
    size = target.limit("max_body_bytes")

    with ExitStack() as stack:

        def one(_: int) -> int:
            with suppress(OSError):
                connection = target.begun(stack, size)
                for _ in range(size // MIB - 1):
                    connection.sendall(bytes(MIB))
            return 0

        target.together(one, AT_ONCE)
        time.sleep(1)


def whole_uploads(target: Target) -> None:
    """The largest bodies, complete and of no use."""
    body = b'"' + b"a" * (target.limit("max_body_bytes") - 2) + b'"'
    assert set(target.together(lambda n: target.post("/v1/forward", body), AT_ONCE)) <= {0, 400, 422, 503}


def unread_replies(target: Target) -> None:
    """Replies of 24 MB and more of which nothing is read."""
    body = graph(
        {"one": {"data": [1.0]}},
        ("expand", ["one", [3_000_000]], "wide"),
        ("cumsum", ["wide", 0], "sums"),
        ("exp", ["sums"], "y"),
        outputs=["sums"],
    )
    with ExitStack() as stack:
        for _ in range(60):
            target.begun(stack, len(body)).sendall(body)
        time.sleep(5)


def large_computations(target: Target) -> None:
    """Computations of as much memory as one may take."""

    def body(elements: int) -> bytes:
        return graph(
            {"one": {"data": [1.0], "requires_grad": True}},
            ("expand", ["one", [elements]], "wide"),
            ("cumsum", ["wide", 0], "a"),
            ("exp", ["a"], "b"),
            ("sum", ["b"], "y"),
            outputs=["y"],
        )

    most = target.limit("max_memory_bytes") // 8
    taken = next(size for part in range(2, 20) if target.post("/v1/gradients", body(size := most // part)) == 200)
    statuses = target.together(lambda n: target.post("/v1/gradients", body(taken)), AT_ONCE)
    assert set(statuses) <= {200, 503, 504}


def many_plans(target: Target) -> None:
    """Graphs that differ, each with a large plan and a large structure."""

    def one(n: int) -> int:
        statuses = set()
        for m in range(8):
            x = {"data": [0.5] * (1 + n * 8 + m), "requires_grad": True}
            ops = [("sin", [f"t{k - 1}" if k else "x"], f"t{k}") for k in range(3000)]
            body = graph({"x": x}, *ops, ("sum", ["t2999"], "y"), outputs=["y"])
            statuses.add(target.post("/v1/gradients", body))
        return max(statuses - {503, 504}, default=0)

    assert set(target.together(one, 8)) <= {0, 200}


def registered_graphs(target: Target) -> None:
    """Registered graphs as large as the store takes, read by clients that do not read, and called."""
    triples = target.limit("max_graph_bytes") // 24 - 1000
    values = "A" * (triples * 32)  # base64 of 24 bytes each
    known = []
    for n in range(6):
        tensors = {
            "w": {"data": values, "shape": [3 * triples], "dtype": "float64"},
            "x": {"data": [float(n)]},
        }
        body = graph(tensors, ("sum", ["w"], "a"), ("add", ["a", "x"], "y"))
        reply = httpx.post(f"{target.url}/v1/graphs", content=body, trust_env=False, timeout=PATIENCE_S)
        assert reply.status_code in {200, 201, 429, 503}, reply.text[:300]
        known += [reply.json()["id"]] if reply.is_success else []
    assert known
    with ExitStack() as stack:
        for n in range(60):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", target.port)))
            path = f"/v1/graphs/{known[n % len(known)]}"
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        target.together(lambda n: target.post(f"/v1/graphs/{known[n % len(known)]}/forward", b"{}"), AT_ONCE)
        time.sleep(5)
    for each in known:
        httpx.delete(f"{target.url}/v1/graphs/{each}", trust_env=False, timeout=PATIENCE_S)


ATTACKS: list[Callable[[Target], None]] = [
    bombs,
    inflated,
    slow_senders,
    slow_heads,
    half_uploads,
    whole_uploads,
    unread_replies,
    large_computations,
    many_plans,
    registered_graphs,
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_the_container_outlives(target: Target, attack: Callable[[Target], None]) -> None:
    before = target.state()
    attack(target)
    assert_unhurt(target, before)


def test_the_container_outlives_all_at_once(target: Target) -> None:
    before = target.state()
    with ThreadPoolExecutor(len(ATTACKS)) as threads:
        for attack in ATTACKS:
            # What each of them is answered depends on the others.
            threads.submit(attack, target)
    assert_unhurt(target, before)


def assert_unhurt(target: Target, before: dict[str, Any]) -> None:
    """Assert that the same processes answer, and that the kernel killed none since."""
    wait_until_live(target.url, seconds=PATIENCE_S)
    post_tutorial(target.url)
    after = target.state()
    assert (after["killed"], after["process"]) == (before["killed"], before["process"])
