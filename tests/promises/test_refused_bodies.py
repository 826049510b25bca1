"""A refused request leaves its body to nobody, and needs no garbage collector for that.

An exception has a traceback, which has frames, whose variables are the request's body. An exception that is stored
keeps all of them; in a reference cycle, until a collection that may never come.
"""

from __future__ import annotations

import gc
import gzip
import resource
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
import zstandard

from app.evaluation.evaluator import Call, Evaluator
from app.main import create_app
from app.settings import Settings
from app.workers.worker import _answer, _computation, _Reporter
from tests.app.bodies import echo, op, request
from tests.app.client import Client, client_of
from tests.app.http.test_server import serving
from tests.app.listening import listening
from tests.promises.conftest import Faulty
from tests.promises.planted import SEEDS

MIB = 2**20
NUMBERS = np.linspace(0, 1, 1000).tolist()

Asked = tuple[int, str, bytes, dict[str, str]]
"""A status, a path, a body, and headers."""


def long(**members: Any) -> bytes:
    return orjson.dumps(echo(NUMBERS, **members))


def long_call(*ops: Any, **members: Any) -> bytes:
    return orjson.dumps(request({"x": NUMBERS, "m": [[1.0]]}, *ops, **members))


BOMB = zstandard.ZstdCompressor().compress(bytes(64 * MIB))
REFUSED: dict[str, Asked] = {
    "malformed JSON": (400, "/v1/forward", long()[:-1], {}),
    "malformed MessagePack": (400, "/v1/forward", long(), {"content-type": "application/msgpack"}),
    "a body too large": (413, "/v1/forward", long().ljust(9 * MIB), {}),
    "a zstd bomb": (413, "/v1/forward", BOMB, {"content-encoding": "zstd"}),
    "a gzip bomb": (413, "/v1/forward", gzip.compress(bytes(64 * MIB)), {"content-encoding": "gzip"}),
    "malformed zstd": (400, "/v1/forward", long(), {"content-encoding": "zstd"}),
    "an unknown media type": (415, "/v1/forward", long(), {"content-type": "text/plain"}),
    "an unknown member": (422, "/v1/forward", long(surprise=1), {}),
    "an unknown op": (422, "/v1/forward", long_call(op("exq", ["x"], "y")), {}),
    "shapes that do not fit": (422, "/v1/forward", long_call(op("matmul", ["x", "m"], "y")), {}),
    "a value that does not fit": (422, "/v1/forward", orjson.dumps(echo([*NUMBERS, "one"])), {}),
    "a value that a kernel refuses": (
        422,
        "/v1/forward",
        long_call(op("neg", ["m"], "n"), op("linalg.cholesky", ["n"], "y"), op("exp", ["x"], "e")),
        {},
    ),
    "a deadline": (
        504,
        "/v1/forward",
        long_call(
            *(op("cumsum", [f"y{i}"], f"y{i + 1}", attributes={"dim": 0}) for i in range(300)), timeout_ms=1
        ).replace(b'"x"', b'"y0"'),
        {},
    ),
    "an unknown route": (404, "/v1/nothing", long(), {}),
    "an unknown graph": (404, "/v1/graphs/sha256-0/forward", long(), {}),
    "a graph that cannot be registered": (422, "/v1/graphs", long(surprise=1), {}),
}


@pytest.fixture(scope="module", params=["on the event loop", "in a worker"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    inline_ms = 1000 if request.param == "on the event loop" else 0
    with client_of(create_app(Settings(concurrency=1, max_body_bytes=8 * MIB, inline_ms=inline_ms))) as made:
        yield made


def left_behind(body: bytes, refuse: Callable[[bytes], None]) -> tuple[int, int]:
    """Return how many references to a body, and how many tracebacks, there are more after it was refused some times.

    Nothing collects cycles meanwhile.
    """
    refuse(body)
    gc.collect()
    gc.disable()
    try:
        references, tracebacks = sys.getrefcount(body), _tracebacks()
        for _ in range(3):
            refuse(body)
        latest = time.monotonic() + 10
        # a thread that inflated a body lets go of it a moment after its result is there
        while (left := (sys.getrefcount(body) - references, _tracebacks() - tracebacks)) != (0, 0):
            if time.monotonic() > latest:
                break
            time.sleep(0.01)
        return left
    finally:
        gc.enable()


def _tracebacks() -> int:
    return sum(isinstance(found, TracebackType) for found in gc.get_objects())


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_body_is_gone(client: Client, name: str) -> None:
    status, path, body, headers = REFUSED[name]

    def refuse(body: bytes) -> None:
        found, _ = client.call(path, [{"type": "http.request", "body": body}], headers)
        assert found == status

    assert left_behind(body, refuse) == (0, 0)


def test_a_defect_leaves_no_body(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("app.http.exchange._log", SimpleNamespace(exception=lambda *_, **__: traceback.format_exc()))
    monkeypatch.setattr(Evaluator, "answer", failing)
    monkeypatch.setattr("app.workers.dispatch.Dispatcher._ask_worker", failing)

    def fail(body: bytes) -> None:
        found, _ = client.call("/v1/forward", [{"type": "http.request", "body": body}])
        assert found == 500

    assert left_behind(orjson.dumps(echo(1.5)), fail) == (0, 0)


def test_a_worker_that_is_given_up_leaves_no_body(faulty: Faulty) -> None:
    with faulty(timeout_ms=200) as client:

        def give_up(body: bytes) -> None:
            found, _ = client.call("/v1/forward", [{"type": "http.request", "body": body}])
            assert found == 504

        assert left_behind(long(seed=SEEDS["hang"]), give_up) == (0, 0)


SHORT: dict[str, tuple[int, bytes]] = {
    "malformed JSON": (400, b"{"),
    "an unknown member": (422, orjson.dumps(echo(1.0, surprise=1))),
    "an unknown op": (422, orjson.dumps(request({"x": 1.0}, op("exq", ["x"], "y")))),
    "a value that does not fit": (422, orjson.dumps(echo([1, "one"]))),
}


@pytest.mark.parametrize("name", SHORT)
def test_a_body_refused_on_the_fast_path_is_gone(name: str) -> None:
    status, body = SHORT[name]
    head = (
        b"POST /v1/forward HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    )
    with listening(create_app(Settings(concurrency=1, inline_ms=1000))) as server:

        def refuse(sent: bytes) -> None:
            async def ask() -> None:
                shortcut = server.protocol().shortcut
                found = shortcut.answer(shortcut.call(sent), sent, "127.0.0.1")
                assert found is not None
                assert found[0] == status

            server.run(ask())

        assert left_behind(head % len(body) + body, refuse) == (0, 0)


@pytest.mark.parametrize("name", ["malformed JSON", "an unknown op", "a value that does not fit"])
def test_a_worker_keeps_no_body(name: str) -> None:
    _, _, body, _ = REFUSED[name]
    evaluator = Evaluator(Settings())
    connection, other = socket.socketpair()
    with connection, other:
        teller = _Reporter(connection)

        def refuse(body: bytes) -> None:
            header = {"deadline": None, "others": 0}
            reply, _ = _answer(lambda: _computation(evaluator, Call("forward", body), header, teller))
            assert "problem" in reply

        assert left_behind(body, refuse) == (0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_memory_of_a_server_that_refuses_bombs_is_flat() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(2 * MIB))
    with serving(max_body_bytes=MIB, log_level="warning") as (process, words):
        statm = Path(f"/proc/{process.pid}/statm")
        with httpx.Client(trust_env=False, timeout=60) as http:

            def refuse(times: int) -> int:
                for _ in range(times):
                    assert http.post(words[1], content=bomb, headers={"content-encoding": "zstd"}).status_code == 413
                return int(statm.read_text().split()[1]) * resource.getpagesize()

            before = refuse(20)
            assert refuse(200) - before < 20 * MIB
