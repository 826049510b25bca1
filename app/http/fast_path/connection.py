"""One connection, which answers small calls on the spot and leaves everything else to the protocol that it is made of.

The shortcut decides whether a request is such a call. The connection knows whether another request is under way,
whether the client reads the replies, and whether the bytes that arrive begin a request. The parser never sees the
bytes that the shortcut takes.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Protocol, TypeVar

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.http.protocol import BoundedProtocol

_HOLD_S = 0.005
"""How long the rest of a small call may take to arrive; after that its body has bounds of its own."""

_BRIEF_S = 0.0003
"""A call that took longer is answered before the next one is computed."""

_SMALL = 2**16
"""Bytes of an answer that may wait for others."""


class Whole(Protocol):
    """A request whose head is known."""

    @property
    def size(self) -> int:
        """The bytes that it has altogether."""
        ...


Call = TypeVar("Call", bound=Whole)


class SmallCallHandler(Protocol[Call]):
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

    shortcut: SmallCallHandler[Any]

    _is_between = True
    """Whether the parser has been shown whole requests and nothing after them."""
    _held = b""
    """A small call that is answered as soon as other connections have been read, or one whose rest is yet to arrive."""
    _holding: asyncio.Handle | None = None
    _unsent = b""
    """An answer that is sent as soon as those of other connections are there."""
    _active_at = 0.0
    """When a small call arrived last."""

    def data_received(self, data: bytes) -> None:
        """Keep a small call for a moment; anything else is the parser's."""
        if self._unsent:
            self._send()
        held = self._released() if self._held else b""
        data = held + data if held else data
        if not (self._is_between and self._took(data, may_wait=not held)):
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
        self._unsent = b""
        self._pass_on()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Finish what has begun."""
        self._send()
        self._pass_on()
        super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that was not used for long. Small calls leave the timer as it is, so it looks again."""
        left = self._active_at + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    def _took(self, data: bytes, *, may_wait: bool) -> bool:
        """Hold a small call, and if it `may_wait`, the first part of one. Return whether it is that.

        Calls of several connections are read first and then computed one right after the other: what the system does
        in between would push code out of the caches. Many clients send the head and the body in two pieces.
        """
        call = self.shortcut.call(data)
        if call is None or len(data) > call.size or not self._is_idle():
            return False
        if len(data) == call.size:
            self._held, self._holding = data, self.loop.call_soon(self._answer, call)
        elif may_wait:
            self._held, self._holding = data, self.loop.call_later(_HOLD_S, self._pass_on)
            self._active_at = self.loop.time()
        return bool(self._held)

    def _answer(self, call: Any) -> None:
        """Answer a small call. Brief ones of several connections are answered together once all are computed.

        To send wakes who waits for it, which takes the system as long as half of a computation; who is awake already,
        because another answer came just before, is not woken again.
        """
        data = self._released()
        began = time.perf_counter()
        answer = self.shortcut.answer(call, data)
        if answer is None:
            super().data_received(data)
            return
        self._unsent = self._written(*answer)
        if time.perf_counter() - began < _BRIEF_S and len(self._unsent) < _SMALL:
            self.loop.call_soon(self._send)
        else:
            self._send()

    def _is_idle(self) -> bool:
        """Whether no request is under way, and the client reads what it is sent."""
        cycle: RequestResponseCycle | None = self.cycle
        is_over = cycle is None or cycle.response_complete
        return is_over and not self.pipeline and not self.flow.write_paused and not self.transport.is_closing()

    def _send(self) -> None:
        """Send what is not sent yet."""
        unsent, self._unsent = self._unsent, b""
        if unsent and not self.transport.is_closing():
            self.transport.write(unsent)

    def _written(self, status: int, head: bytes, body: bytes) -> bytes:
        """Return the answer as it is sent, and expect the next request."""
        self.server_state.total_requests += 1
        if self._timer is not None:
            self._stop_timer()
        self._active_at = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_handler()
        return b"".join((self.beginning(status), head, body))

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


def connection(bounded: type[BoundedProtocol], shortcut: SmallCallHandler[Any]) -> type[Connection]:
    """Return the protocol class with the bounds of another and this shortcut."""

    class Short(Connection, bounded):  # type: ignore[misc, valid-type]
        pass

    Short.shortcut = shortcut
    return Short
