"""One connection, which answers small calls on the spot and leaves everything else to the protocol that it is made of.

Whether a request is such a call is the shortcut's business, `app.routes.shortcut`. Here is what a connection knows:
whether another request is under way, whether the client reads what it is sent, and whether the bytes that arrive are
the beginning of a request. Those that the shortcut takes are never shown to the parser.
"""

from __future__ import annotations

import asyncio
from functools import cache
from http import HTTPStatus
from typing import Any, Protocol, TypeVar

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.protocol import BoundedProtocol

_HOLD_S = 0.005
"""How long the rest of a small call may take to arrive; after that its body has bounds of its own."""


class Whole(Protocol):
    """A request whose head is known."""

    @property
    def size(self) -> int:
        """The bytes that it has altogether."""
        ...


Call = TypeVar("Call", bound=Whole)


class Shortcut(Protocol[Call]):
    """What answers small calls at once."""

    def call(self, data: bytes) -> Call | None:
        """Return the call that begins with these bytes, if it is a small one and its head is there."""
        ...

    def answer(self, call: Call, data: bytes) -> tuple[int, bytes, bytes] | None:
        """Return the answer to a whole call, or None where others have to answer.

        A status, headers as they are sent, with the empty line after them, and a body.
        """
        ...


class Connection(BoundedProtocol):
    """One connection. Subclasses made by `connection` have its bounds and its shortcut."""

    shortcut: Shortcut[Any]

    _is_between = True
    """Whether the parser has been shown whole requests and nothing after them."""
    _held = b""
    """The beginning of a small call, whose rest is expected in a moment."""
    _holding: asyncio.TimerHandle | None = None
    _active_at = 0.0
    """When a small call arrived last."""

    def data_received(self, data: bytes) -> None:
        """Answer a small call at once; anything else is the parser's."""
        held = self._released()
        data = held + data if held else data
        if not (self._is_between and self._took(data, may_hold=not held)):
            super().data_received(data)

    def on_message_begin(self) -> None:
        """What arrives from here on belongs to this request."""
        self._is_between = False
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """What arrives from here on is another request."""
        self._is_between = True
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Have the parser see all that arrived, so that what was not answered is logged."""
        self._pass_on()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Finish what has begun."""
        self._pass_on()
        super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that was not used for long. Small calls leave the timer as it is, so it looks again."""
        left = self._active_at + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    def _took(self, data: bytes, *, may_hold: bool) -> bool:
        """Answer a whole small call, or hold the first part of one. Return whether it did one of these."""
        call = self.shortcut.call(data)
        if call is None or len(data) > call.size or not self._is_idle():
            return False
        if len(data) < call.size:
            if may_hold:
                self._hold(data)
            return may_hold
        answer = self.shortcut.answer(call, data)
        if answer is not None:
            self._write(*answer)
        return answer is not None

    def _is_idle(self) -> bool:
        """Whether no request is under way, and the client reads what it is sent."""
        cycle: RequestResponseCycle | None = self.cycle
        is_over = cycle is None or cycle.response_complete
        return is_over and not self.pipeline and not self.flow.write_paused and not self.transport.is_closing()

    def _write(self, status: int, head: bytes, body: bytes) -> None:
        """Answer, and expect the next request."""
        lines = [b"%b: %b\r\n" % header for header in self.server_state.default_headers]
        self.transport.writelines((_status_line(status), *lines, head, body))
        self.server_state.total_requests += 1
        self._stop_timer()
        self._active_at = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_handler()

    def _hold(self, data: bytes) -> None:
        """Keep the beginning of a small call for a moment: many clients send head and body in two pieces."""
        self._held = data
        self._holding = self.loop.call_later(_HOLD_S, self._pass_on)
        self._active_at = self.loop.time()

    def _released(self) -> bytes:
        """Return what is held, which is no longer."""
        held, self._held = self._held, b""
        if self._holding is not None:
            self._holding.cancel()
            self._holding = None
        return held

    def _pass_on(self) -> None:
        """Leave what is held to the parser."""
        held = self._released()
        if held:
            super().data_received(held)


@cache
def _status_line(status: int) -> bytes:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode("ascii")


def connection(bounded: type[BoundedProtocol], shortcut: Shortcut[Any]) -> type[Connection]:
    """Return the protocol class with the bounds of another and this shortcut."""

    class Short(Connection, bounded):  # type: ignore[misc, valid-type]
        pass

    Short.shortcut = shortcut
    return Short
