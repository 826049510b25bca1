"""A protocol that answers small calls on the event loop. `BoundedProtocol`, its base class, handles all other requests.

The shortcut recognises small calls. The connection checks that no other request is in progress, that the client reads
the replies, and that the received bytes begin a request. The parser does not see the bytes of a small call.
`app.http.server` uses this module.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Protocol, TypeVar

from app.http.protocol import BoundedProtocol

_HOLD_S = 0.005
"""Seconds to wait for the rest of a small call. After that, the limits of `BodyBounds` apply."""

_BRIEF_S = 0.0003
"""Seconds. The answer of a longer call is sent before the next call is computed."""

_SMALL = 2**16
"""Bytes. Smaller answers may wait for the answers of other connections."""


class Whole(Protocol):
    """Interface of a request with a parsed head."""

    @property
    def size(self) -> int:
        """The size of the whole request in bytes."""
        ...


Call = TypeVar("Call", bound=Whole)


class SmallCallHandler(Protocol[Call]):
    """Interface of the shortcut, which answers small calls."""

    def call(self, data: bytes) -> Call | None:
        """Return the small call that begins with these bytes, or None. The bytes must include the whole head."""
        ...

    def answer(self, call: Call, data: bytes, peer: str) -> tuple[int, bytes, bytes] | None:
        """Return the answer to a complete call from an address, or None if the general path must answer it.

        The answer is a status, the header lines with the empty line after them, and a body.
        """
        ...


class Connection(BoundedProtocol):
    """One connection. `connection` makes subclasses with the limits and the shortcut of an application."""

    shortcut: SmallCallHandler[Any]

    _is_between = True
    """Whether the parser is between two requests."""
    _held = b""
    """A complete small call that waits until other connections are read, or the first part of a small call."""
    _hold_timer: asyncio.Handle | None = None
    _unsent = b""
    """An answer that waits for the answers of other connections."""
    _active_at = 0.0
    """The loop time at which the latest small call arrived."""

    def data_received(self, data: bytes) -> None:
        """Hold a small call, or pass the bytes to the parser."""
        if self._unsent:
            self._send()
        held = self._take_held() if self._held else b""
        data = held + data if held else data
        if not (self._is_between and self._hold(data, may_wait=not held)):
            super().data_received(data)

    def on_message_begin(self) -> None:
        """Mark the start of a request."""
        self._is_between = False
        super().on_message_begin()

    def end_message(self) -> None:
        """Mark the end of a request."""
        self._is_between = True
        super().end_message()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass the held bytes to the parser, which logs the unanswered request."""
        self._unsent = b""
        self._pass_on()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Send the waiting answer, and pass the held bytes to the parser."""
        self._send()
        self._pass_on()
        super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection. Small calls do not reset the timer, so it restarts for the remaining time."""
        left = self._active_at + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    def _hold(self, data: bytes, *, may_wait: bool) -> bool:
        """Hold a small call, or its first part if it `may_wait`. Return whether the bytes are held.

        The calls of several connections are read first and then computed one after the other, because system calls
        between them would evict code from the CPU caches. Many clients send the head and the body in two pieces.
        """
        call = self.shortcut.call(data)
        if call is None or len(data) > call.size or not self._is_idle():
            return False
        if len(data) == call.size:
            self._held, self._hold_timer = data, self.loop.call_soon(self._answer, call)
        elif may_wait:
            self._held, self._hold_timer = data, self.loop.call_later(_HOLD_S, self._pass_on)
            self._active_at = self.loop.time()
        return bool(self._held)

    def _answer(self, call: Any) -> None:
        """Compute the answer of a small call. Short calls of several connections are computed first and then sent.

        A send wakes the receiving process, which takes as long as half of a computation. A process that is awake
        because of an earlier answer is not woken again.
        """
        data = self._take_held()
        began = time.perf_counter()
        answer = self.shortcut.answer(call, data, self.peer)
        if answer is None:
            super().data_received(data)
            return
        self._unsent = self._written(*answer)
        if time.perf_counter() - began < _BRIEF_S and len(self._unsent) < _SMALL:
            self.loop.call_soon(self._send)
        else:
            self._send()

    def _is_idle(self) -> bool:
        """Whether no request is in progress, and the client reads its replies."""
        return self.is_answered and not self.pipeline and not self.flow.write_paused and not self.transport.is_closing()

    def _send(self) -> None:
        """Send the waiting answer, if any."""
        unsent, self._unsent = self._unsent, b""
        if unsent and not self.transport.is_closing():
            self.transport.write(unsent)

    def _written(self, status: int, head: bytes, body: bytes) -> bytes:
        """Return the bytes of the answer, and start the idle timer for the next request."""
        self.server_state.total_requests += 1
        if self._timer is not None:
            self._stop_timer()
        self._active_at = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_handler()
        return b"".join((self.beginning(status), head, body))

    def _take_held(self) -> bytes:
        """Return the held bytes, and hold them no longer."""
        held, self._held = self._held, b""
        if self._hold_timer is not None:
            self._hold_timer.cancel()
            self._hold_timer = None
        return held

    def _pass_on(self) -> None:
        """Pass the held bytes to the parser."""
        held = self._take_held()
        if held:
            super().data_received(held)


def connection(bounded: type[BoundedProtocol], shortcut: SmallCallHandler[Any]) -> type[Connection]:
    """Return a protocol class with the limits of `bounded` and this shortcut."""

    class Short(Connection, bounded):  # type: ignore[misc, valid-type]
        pass

    Short.shortcut = shortcut
    return Short
