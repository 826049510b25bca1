"""Middleware of every request: request ids, logging, metrics, common headers, admission and body limits.

Plain ASGI classes, from the outside in: `Observation`, `BodyBounds`, `Admission`. The inner two raise problems, and
`Observation` turns every exception into a problem document. `app.main` installs them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterable
from dataclasses import dataclass
from types import coroutine
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import BodyTooLarge, Busy, ClientGone, ProblemError, SlowBody
from app.http.caller import Callers
from app.http.exchange import Exchange
from app.http.in_flight import RESERVATION, InFlight, Reservation
from app.http.incoming import ARRIVED
from app.telemetry.logs import AccessLog
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import Tracing


def _header(scope: Scope, name: bytes) -> str:
    """Return the first header of a name without the white space around it, or the empty string."""
    for known, value in scope["headers"]:
        if known == name:
            return str(value, "latin-1").strip(" \t")
    return ""


CLIENT = "gradd.client"
"""Key of a request's scope: the client's address."""


class Observation:
    """Gives every request an id and an answer, logs it and counts it."""

    def __init__(self, app: ASGIApp, callers: Callers, metrics: Metrics, access: AccessLog, tracing: Tracing) -> None:
        self.app, self.callers, self.metrics, self.access, self.tracing = app, callers, metrics, access, tracing

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
        inner[CLIENT] = caller.address
        exchange.scope = inner
        try:
            await self._answer(exchange, inner, receive, _Sending(exchange, send))
        finally:
            self.metrics.inflight.dec()
            exchange.report(self.metrics, self.access, self.tracing)

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

    def __init__(self, most: int, retry_after_s: int) -> None:
        self.most, self._retry_after_s = most, retry_after_s
        self.taken = 0

    def require_free(self) -> None:
        """Raise Busy if no slot is free."""
        if self.taken >= self.most:
            raise Busy("All slots are taken and the queue is full; come again later.", self._retry_after_s)


class Admission:
    """Gives a slot to each POST request from the end of its body to the beginning of its answer."""

    def __init__(self, app: ASGIApp, slots: Slots) -> None:
        self.app, self.slots = app, slots

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the inner application. Raises Busy if no slot is free, now or at the end of the body."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        self.slots.require_free()
        holds = False

        async def received() -> Message:
            nonlocal holds
            message = await receive()
            if not holds and message["type"] == "http.request" and not message.get("more_body", False):
                self.slots.require_free()
                self.slots.taken += 1
                holds = True
            return message

        def leave() -> None:
            nonlocal holds
            self.slots.taken -= holds
            holds = False

        async def sent(message: Message) -> None:
            leave()
            await send(message)

        try:
            await self.app(scope, received, sent)
        finally:
            leave()


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a body must arrive: within `timeout_s` seconds, and with `rate` bytes a second after `grace_s`."""

    timeout_s: float
    grace_s: float
    rate: int

    def latest(self, began: float, received: int) -> float:
        """Return the time until which a body may be incomplete, after so many bytes."""
        whole = began + self.timeout_s
        return min(whole, began + self.grace_s + received / self.rate) if self.rate else whole


class BodyBounds:
    """Limits the size of a body, declared or streamed, its time of arrival, and the bytes of all bodies and replies."""

    def __init__(self, app: ASGIApp, most: int, pace: Pace, in_flight: InFlight) -> None:
        self.app, self.most, self.pace, self.in_flight = app, most, pace, in_flight

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the inner application. Raises BodyTooLarge, Busy. Reading raises SlowBody too; sending raises Busy."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = _size(scope["headers"])
        if declared > self.most:
            raise self._too_large()
        reservation = self.in_flight.reservation(scope.get(CLIENT, ""))
        scope[RESERVATION] = reservation
        try:
            reservation.expect(declared)
            await self.app(scope, self._bounded(receive, scope, declared), _reserving(send, reservation))
        except asyncio.CancelledError:  # the grace period of a stop is over
            if reservation.is_replied:
                raise
            raise self.in_flight.busy("The server stopped before the request was answered.") from None
        finally:
            reservation.release()

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"The body has more than {self.most} bytes; GET /v1/limits lists the server's limits.")

    def _bounded(self, receive: Receive, scope: Scope, declared: int) -> Receive:
        """Return a `receive` that enforces the limits until the body is complete."""
        reservation: Reservation = scope[RESERVATION]
        received = 0
        complete = False
        began = asyncio.get_running_loop().time()

        def latest() -> float:
            arrived = scope[ARRIVED]() if ARRIVED in scope else received
            return self.pace.latest(began, arrived)

        async def bounded() -> Message:
            nonlocal received, complete
            if complete:
                return await receive()
            message = await _in_time(receive, latest)
            received += len(message.get("body", b""))
            if received > self.most:
                raise self._too_large()
            if received > max(declared, reservation.arriving):
                reservation.expect(received - reservation.arriving)
            if not message.get("more_body", False):
                complete = True
                reservation.arrived()
            return message

        return bounded


def _size(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Return the Content-Length among the headers, or 0. It is exact up to 20 digits."""
    for name, value in headers:
        if name == b"content-length":
            digits = value.strip()[:20]
            return int(digits) if digits.isdigit() else 0
    return 0


def _reserving(send: Send, reservation: Reservation) -> Send:
    """Return a `send` that reserves the bytes of a reply. It raises Busy."""

    async def reserving(message: Message) -> None:
        if message["type"] == "http.response.start":
            reservation.add(_size(message["headers"]))
            reservation.is_replied = True
        await send(message)

    return reserving


async def _in_time(receive: Receive, latest: Callable[[], float]) -> Message:
    """Return the next message. Raises SlowBody at the time `latest`, which may grow while the body arrives."""
    while True:
        until = latest()
        try:
            return await _by(until, receive())
        except TimeoutError:
            if latest() <= until:
                detail = "The body did not arrive in time; GET /v1/limits has the time and the rate of bodies."
                raise SlowBody(detail, headers={"Connection": "close"}) from None


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
