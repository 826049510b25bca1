"""Measures the CPU time of the longest step of the event loop while the application answers a request."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import orjson
import pytest

from app.errors import ProblemError, TimedOut
from app.evaluation.evaluator import Answer, Call, Evaluator, Observer
from app.http.services import Services
from app.main import create_app
from app.settings import Settings
from app.workers import collector
from app.workers.dispatch import PLAN_S, Dispatcher
from app.workers.worker import REGISTRATION, _registration
from tests.app.listening import Listening, listening
from tests.promises.steps.timing import record_steps

PLANNED_S, RUN_S = 0.015, 0.002
"""Predicted seconds of planning and running up to which the stand-in for a worker computes a call.

The event loop computes no call that is above them, whatever a worker tells of it.
"""

PATIENCE_S = 120


class Step(NamedTuple):
    """The CPU seconds of the longest step, and the status of the answer."""

    seconds: float
    status: int


class Brief(Observer):
    """Refuses work that a worker would take long for, and stores the predicted time of a run."""

    seconds = 0.0

    def planning(self, key: Any, work: float) -> None:  # noqa: ARG002
        if PLAN_S * work > PLANNED_S:
            raise TimedOut("The work is long.")

    def running(self, key: Any, seconds: float) -> None:  # noqa: ARG002
        self.seconds = seconds
        if seconds > RUN_S:
            raise TimedOut("The work is long.")


class Quiet:
    """A log that drops its lines. Development's tracebacks with the values of variables take seconds."""

    def exception(self, event: str, **members: Any) -> None:
        """Drop a line."""


class Probe:
    """An application that listens, and the steps of its event loop.

    Calls that leave the event loop are computed by a thread in place of a worker, so a search does not wait for long
    work. What a worker learns of a call, the dispatcher learns of the thread.
    """

    def __init__(self, found: Listening, taken: list[float]) -> None:
        self._found, self._taken = found, taken
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    @property
    def services(self) -> Services:
        """The services of the application."""
        return self._found.services

    def registered(self, graph: dict[str, Any]) -> str:
        """Register a graph, and return its id."""
        body = orjson.dumps({"graph": graph})
        head = (
            f"POST /v1/graphs HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        reply = self._found.exchange(head.encode() + body, pause=0)
        found: str = orjson.loads(reply.partition(b"\r\n\r\n")[2])["id"]
        return found

    def longest(self, request: bytes, times: int = 2) -> Step:
        """Send a request so often, each time after the answer to the one before, and return the longest step."""
        status = 0

        async def send() -> None:
            nonlocal status
            for _ in range(times):
                status = await asyncio.wait_for(self._sent(request), PATIENCE_S)

        self._taken.clear()
        self._found.run(send())
        return Step(max(self._taken), status)

    def close(self) -> None:
        """Close the connection."""
        self._found.run(self._close())

    async def _close(self) -> None:
        if self._streams is not None:
            writer, self._streams = self._streams[1], None
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _sent(self, request: bytes) -> int:
        if self._streams is not None and (self._streams[1].is_closing() or self._streams[0].at_eof()):
            await self._close()
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._found.address, limit=2**27)
        reader, writer = self._streams
        writer.write(request)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]
            await reader.readexactly(int(length or b"0"))
        except (asyncio.IncompleteReadError, ConnectionError):
            await self._close()
            return 0
        if b"connection: close" in head.lower():
            await self._close()
        return int(head.split(b" ", 2)[1])


@contextmanager
def probing(*, workers: bool = False, **settings: Any) -> Iterator[Probe]:
    """Give a probe of an application with these settings; with `workers`, a thread does not take their place.

    The search for the passes of a Jacobian can take minutes. Only the end of its process ends it.
    """
    given = {"concurrency": 1, "timeout_ms": 5000, "log_level": "error", **settings}
    thresholds = gc.get_threshold()
    with pytest.MonkeyPatch.context() as patch:
        app = create_app(Settings(**given))
        with listening(app) as found:
            taken = record_steps(patch)
            patch.setattr("app.http.exchange._log", Quiet())
            if not workers:
                patch.setattr(Dispatcher, "_ask_worker", _asker(found))
            collector.configure()
            probe = Probe(found, taken)
            try:
                yield probe
            finally:
                probe.close()
                gc.set_threshold(*thresholds)
                gc.unfreeze()


def _asker(found: Listening) -> Any:
    services = found.services
    evaluator = Evaluator(services.settings, services.graphs)

    def work(sent: Any) -> tuple[dict[str, Any], bytes]:
        observer = Brief()
        call: Call = sent.call._replace(body=b"".join(map(bytes, sent.body)))
        deadline = min(sent.deadline, time.monotonic() + 0.3)
        try:
            if call.operation == REGISTRATION:
                answer, _ = _registration(call, services.settings, deadline)
            else:
                answer = evaluator.answer(call, deadline, observer)
        except ProblemError as problem:
            return {"problem": problem.packed(), "spent": False}, b""
        return {"timings": tuple(answer.timings), "seconds": observer.seconds}, bytes(answer.body)

    async def ask(dispatcher: Dispatcher, sent: Any) -> Answer:
        reply, written = await asyncio.to_thread(work, sent)
        return dispatcher._decoded(reply, bytearray(written), sent.key, 0.0)

    return ask
