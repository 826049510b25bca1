"""Middleware of every request: request ids, logging, metrics, common headers, admission and body limits.

Plain ASGI classes, from the outside in: `Observation`, `Admission`, `BodyBounds`. The inner two raise problems, and
`Observation` turns every exception into a problem document. `app.main` installs them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from types import coroutine
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import BodyTooLarge, Busy, ClientGone, ProblemError, SlowBody
from app.http.caller import Callers
from app.http.exchange import Exchange
from app.telemetry.logs import AccessLog
from app.telemetry.metrics import Metrics


def _header(scope: Scope, name: bytes) -> str:
    """Return the first header of a name without the white space around it, or the empty string."""
    for known, value in scope["headers"]:
        if known == name:
            return str(value, "latin-1").strip(" \t")
    return ""


class Observation:
    """Gives every request an id and an answer, logs it and counts it."""

    def __init__(self, app: ASGIApp, callers: Callers, metrics: Metrics, access: AccessLog) -> None:
        self.app, self.callers, self.metrics, self.access = app, callers, metrics, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, also after an exception."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope.get("raw_path", b"").decode("latin-1")
        peer = scope.get("client")
        caller = self.callers.of(peer[0] if peer else "", scope["headers"])
        exchange = Exchange(scope["method"], path, caller)
        self.metrics.inflight.inc()
        # HEAD is handled as GET; the server omits the body.
        inner = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        try:
            await self._answer(exchange, inner, receive, _Sending(exchange, send))
        finally:
            self.metrics.inflight.dec()
            exchange.route = getattr(inner.get("route"), "path", exchange.route)
            exchange.report(self.metrics, self.access)

    async def _answer(self, exchange: Exchange, scope: Scope, receive: Receive, sending: _Sending) -> None:
        try:
            await self.app(scope, receive, sending.send)
        except ProblemError as problem:
            await sending.refuse(problem)
        except ClientDisconnect:
            await sending.refuse(ClientGone("The client closed the connection."))
        except Exception:
            failure = exchange.failed()
            if exchange.status:
                raise
            await sending.refuse(failure)


class _Sending:
    """The `send` of one answer."""

    def __init__(self, exchange: Exchange, send: Send) -> None:
        self._exchange, self._send = exchange, send

    async def send(self, message: Message) -> None:
        """Send a message, with the common headers of all responses."""
        if message["type"] == "http.response.start":
            message["headers"] = self._exchange.answered(message["status"], message["headers"])
        await self._send(message)

    async def refuse(self, problem: ProblemError) -> None:
        """Answer with a problem document."""
        headers, body = self._exchange.refused(problem)
        await self.send({"type": "http.response.start", "status": problem.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


class Slots:
    """Counter of the requests that compute or wait. `most` is the limit, `taken` the current number."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.taken = 0

    @property
    def is_free(self) -> bool:
        """Whether a slot is free."""
        return self.taken < self._most


class Admission:
    """Gives a slot to each POST request before its body is read, and refuses requests if no slot is free."""

    def __init__(self, app: ASGIApp, slots: Slots, retry_after_s: int) -> None:
        self.app, self.slots, self.retry_after_s = app, slots, retry_after_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hold a slot until the request is answered. Raises Busy."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        if not self.slots.is_free:
            raise Busy("All slots are taken and the queue is full; come again later.", self.retry_after_s)
        self.slots.taken += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.slots.taken -= 1


class BodyBounds:
    """Limits the size of a body, declared or streamed, and the time until it has arrived."""

    def __init__(self, app: ASGIApp, most: int, timeout_s: float) -> None:
        self.app, self.most, self.timeout_s = app, most, timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the inner application. Raises BodyTooLarge. Reading the body raises BodyTooLarge, SlowBody."""
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
        """Return a `receive` that enforces the limits until the body is complete."""
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
    """Return the message. Raises TimeoutError if it does not arrive before the time `latest`.

    A message that is available already needs no timer, which saves ten microseconds.
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
    """Resume an awaitable after its first step, which returned `waited_for`. Closes it if the wait is cancelled."""
    try:
        yield waited_for
    except BaseException:
        started.close()
        raise
    return (yield from started)
