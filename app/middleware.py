"""What surrounds every request: an id, a log line, counters and headers; places; and bounds on its body.

Plain ASGI classes, from the outside in: `Observation`, `Admission`, `BodyBounds`. The inner ones raise problems, the
outermost turns whatever was raised into a problem document.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Awaitable, Generator
from itertools import count
from types import coroutine
from typing import Any

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import MEDIA_TYPE, BodyTooLarge, Busy, ClientGone, Problem, SlowBody, Unexpected
from app.logs import AccessLog
from app.metrics import Metrics

_log = structlog.get_logger("gradd.access")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)

_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"cache-control": b"no-store",
}
"""What every response has unless its route says otherwise."""


_PROCESS = secrets.token_hex(8)
_COUNTER = count()
"""The halves of the ids that are given here: one is this process's, the other the request's."""


def _header(scope: Scope, name: bytes) -> str:
    """Return the first header of a name, or nothing."""
    for known, value in scope["headers"]:
        if known == name:
            return str(value, "latin-1")
    return ""


class Observation:
    """Gives every request an id and an answer, logs and counts it."""

    def __init__(self, app: ASGIApp, metrics: Metrics, access: AccessLog) -> None:
        self.app, self.metrics, self.access = app, metrics, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, whatever happens inside."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, send)
        self.metrics.inflight += 1
        try:
            await self._answer(exchange, receive)
        finally:
            self.metrics.inflight -= 1
            exchange.report(self.metrics, self.access)

    async def _answer(self, exchange: _Exchange, receive: Receive) -> None:
        try:
            await self.app(exchange.scope, receive, exchange.send)
        except Problem as problem:
            await exchange.refuse(problem)
        except ClientDisconnect:
            await exchange.refuse(ClientGone("The client closed the connection."))
        except Exception:
            _log.exception("failed", request_id=exchange.id)
            if exchange.status:
                raise
            await exchange.refuse(Unexpected(f"The service failed; its log tells more under the id {exchange.id}."))


class _Exchange:
    """One request and what has been answered so far."""

    def __init__(self, scope: Scope, send: Send) -> None:
        # A HEAD is answered as the GET it stands for; the server sends no body for it.
        self.scope = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        self.method: str = scope["method"]
        given = _header(scope, b"x-request-id")
        self.id = given if _REQUEST_ID.fullmatch(given) else f"{_PROCESS}{next(_COUNTER):016x}"
        self.status = 0
        self.problem: Problem | None = None
        self._send = send
        self._began = time.perf_counter()

    async def send(self, message: Message) -> None:
        """Pass a message on, with the headers that every response has."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = message["headers"]
            names = {name for name, _ in given}
            took = f"total;dur={(time.perf_counter() - self._began) * 1000:.3f}"
            message["headers"] = [
                *given,
                (b"x-request-id", self.id.encode("ascii")),
                (b"server-timing", took.encode("ascii")),
                *[header for header in _HEADERS.items() if header[0] not in names],
            ]
        await self._send(message)

    async def refuse(self, problem: Problem) -> None:
        """Answer with a problem document."""
        self.problem = problem
        body = problem.body(self.id)
        headers = {"Content-Type": MEDIA_TYPE, "Content-Length": str(len(body)), **problem.headers}
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": problem.status, "headers": raw})
        await self.send({"type": "http.response.body", "body": body})

    def report(self, metrics: Metrics, access: AccessLog) -> None:
        """Log and count the request."""
        seconds = time.perf_counter() - self._began
        route = self.scope.get("route")
        metrics.answered(getattr(route, "path", "unmatched"), self.status, seconds)
        line: dict[str, Any] = {
            "request_id": self.id,
            "status": self.status,
            "ms": round(seconds * 1000, 3),
            "method": self.method,
            "path": self.scope.get("raw_path", b"").decode("latin-1")[:256],
        }
        if self.problem is not None:
            metrics.refused(self.problem)
            line["code"] = self.problem.code
        access.write(line)


class Admission:
    """Gives places to the requests that are to be computed, before their bodies are read, and turns away the others."""

    def __init__(self, app: ASGIApp, places: int, retry_after_s: int) -> None:
        self.app, self.places, self.retry_after_s = app, places, retry_after_s
        self._taken = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hold a place while the request is answered. Raises Busy."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        if self._taken >= self.places:
            raise Busy("All slots are taken and the queue is full; come again later.", self.retry_after_s)
        self._taken += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._taken -= 1


class BodyBounds:
    """Bounds the size of a body, declared or streamed, and the time that it takes to arrive."""

    def __init__(self, app: ASGIApp, most: int, timeout_s: float) -> None:
        self.app, self.most, self.timeout_s = app, most, timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on. Raises BodyTooLarge and, while its body is read, SlowBody."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = _header(scope, b"content-length")
        if declared.isdecimal() and int(declared[:20]) > self.most:
            raise self._too_large()
        await self.app(scope, self._bounded(receive), send)

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"The body has more than {self.most} bytes; GET /v1/limits lists the server's limits.")

    def _bounded(self, receive: Receive) -> Receive:
        """Return `receive` within the bounds, until the body is complete."""
        received = 0
        complete = False
        latest = asyncio.get_running_loop().time() + self.timeout_s

        async def bounded() -> Message:
            nonlocal received, complete
            if complete:
                return await receive()
            try:
                message = await _by(latest, receive())
            except TimeoutError:
                detail = f"The body did not arrive within {self.timeout_s:g} seconds."
                raise SlowBody(detail, headers={"Connection": "close"}) from None
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if received > self.most:
                raise self._too_large()
            return message

        return bounded


async def _by(latest: float, message: Awaitable[Message]) -> Message:
    """Return the message. Raises TimeoutError where it has not come at the moment `latest`.

    One that is there already is taken as it is: a timer, for the ten microseconds that it costs, would never ring.
    """
    coming = message.__await__()
    try:
        waited_for = next(coming)
    except StopIteration as at_once:
        found: Message = at_once.value
        return found
    async with asyncio.timeout_at(latest):
        return await _rest(coming, waited_for)


@coroutine
def _rest(started: Generator[Any, Any, Message], waited_for: Any) -> Generator[Any, Any, Message]:
    """Wait for what has been started and waits for something; it is closed where the waiting is given up."""
    try:
        yield waited_for
    except BaseException:
        started.close()
        raise
    return (yield from started)
