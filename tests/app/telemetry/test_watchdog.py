"""The watchdog measures the lag of the event loop, and names the request that holds it."""

import asyncio
import gzip
import threading
import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import structlog

from app.evaluation.evaluator import Evaluator
from app.http.exchange import in_progress
from app.main import create_app
from app.telemetry.metrics import Metrics
from app.telemetry.watchdog import EventLoopWatchdog
from tests.app.bodies import sum_of_exp
from tests.app.client import Client
from tests.app.listening import Listening, listening

PATIENCE_S = 60


class Noted(Metrics):
    """Metrics that tell when a step is found to hold the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.is_held = threading.Event()

    def held(self, endpoint: str) -> None:
        super().held(endpoint)
        self.is_held.set()


def lines(metrics: Metrics, name: str) -> list[str]:
    return [line for line in metrics.exposition().decode().splitlines() if line.startswith(name)]


def until(condition: Any) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_the_lag_is_measured() -> None:
    metrics = Metrics()
    watchdog = EventLoopWatchdog(metrics, in_progress)

    async def idle() -> None:
        watchdog.start()
        while lines(metrics, "gradd_event_loop_lag_seconds_count")[0].endswith(" 0.0"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        watchdog.stop()

    asyncio.run(asyncio.wait_for(idle(), PATIENCE_S))


def test_work_outside_of_requests_is_reported_without_a_route() -> None:
    metrics = Noted()
    watchdog = EventLoopWatchdog(metrics, in_progress)

    async def hold() -> None:
        watchdog.start()
        assert metrics.is_held.wait(PATIENCE_S)

    with structlog.testing.capture_logs() as logged:
        asyncio.run(hold())
        until(lambda: logged or not any(thread.name == "watchdog" for thread in threading.enumerate()))
        watchdog.stop()
    (line,) = logged
    assert (line["route"], line["log_level"]) == ("none", "warning")
    assert line["ms"] >= 50
    assert any("test_watchdog" in place and "hold" in place for place in line["at"])
    assert lines(metrics, "gradd_event_loop_holds_total") == ['gradd_event_loop_holds_total{endpoint="none"} 1.0']


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listening]:
    """Give a listening application in which each evaluation holds the loop until the watchdog has found it."""
    monkeypatch.setattr("app.http.services.Metrics", Noted)
    app = create_app()
    evaluated = Evaluator.answer

    def held(*arguments: Any) -> Any:
        assert found.services.metrics.is_held.wait(PATIENCE_S)  # type: ignore[attr-defined]
        return evaluated(*arguments)

    with listening(app) as found:

        async def start() -> None:
            found.services.watchdog.start()

        found.run(start())
        monkeypatch.setattr(Evaluator, "answer", held)
        yield found


PLAIN = orjson.dumps(sum_of_exp())


@pytest.mark.parametrize(
    ("body", "headers", "taken"),
    [
        (PLAIN, "", [200]),
        (PLAIN, "Expect: 100-continue\r\n", []),
        (gzip.compress(PLAIN), "Content-Encoding: gzip\r\n", []),
    ],
    ids=["fast path", "general path", "compressed"],
)
def test_the_request_in_progress_is_named(watched: Listening, body: bytes, headers: str, taken: list[int]) -> None:
    head = f"POST /v1/gradients HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Request-Id: mine\r\n{headers}"
    with structlog.testing.capture_logs() as logged:
        watched.leaving(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        until(lambda: logged)
    assert watched.taken == taken
    assert (logged[0]["route"], logged[0]["request_id"]) == ("/v1/gradients", "mine")


def test_lines_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    watchdog = EventLoopWatchdog(Metrics(), in_progress)
    with structlog.testing.capture_logs() as logged:
        for _ in range(3):
            watchdog._report({"route": "none"}, 0.1, True)
        monkeypatch.setattr(watchdog, "_silent_until", 0.0)
        watchdog._report({"route": "none"}, 0.1, False)
    assert [line.get("left_out") for line in logged] == [None, 2]
    assert [line["event"] for line in logged] == ["event loop was held", "event loop is held"]


@pytest.mark.parametrize("coding", [None, "gzip"])
def test_a_compressed_request_is_counted_under_its_route(client: Client, coding: str | None) -> None:
    headers = {"content-encoding": coding} if coding else {}
    body = gzip.compress(PLAIN) if coding else PLAIN
    count = 'gradd_requests_total{endpoint="/v1/gradients",status="200"}'
    before = client.get("/metrics").text
    assert client.post("/v1/gradients", body, headers=headers).status_code == 200
    after = client.get("/metrics").text

    def counted(text: str) -> float:
        return float((text.partition(count)[2].split() or ["0"])[0])

    assert counted(after) == counted(before) + 1
