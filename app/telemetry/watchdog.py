"""The watchdog of the event loop: measures its lag, and reports the request whose step holds it for long.

`app.http.server` starts it. A thread asks the loop for an answer every `_PERIOD_S`; the time until the answer is the
lag. While an answer is late, the thread reads the stack of the loop's thread. Requests do nothing for the watchdog.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any

import structlog

from app.telemetry.metrics import Metrics

_log = structlog.get_logger("gradd.loop")

HELD_S = 0.05
"""Seconds of lag beyond which a line is logged. A step that takes `HELD_S + _PERIOD_S` is always found."""

_PERIOD_S = 0.025
"""Seconds between two questions. A question takes 70 us of CPU."""

_LONG_S = 5.0
"""Seconds of lag after which the line is logged before the end of the step, which may never come."""

_SILENCE_S = 1.0
"""Minimum seconds between two lines. The next line has the number of those that were left out."""

_FRAMES = 5
"""Number of the innermost frames in a line."""

Holder = Mapping[str, Any]
"""Members of a log line that describe the request in progress: `route` and `request_id`, if there is a request."""

UNKNOWN = "none"
"""The route of work that is outside of all requests."""


class EventLoopWatchdog:
    """Watches one event loop. `describe` returns the request that a stack of frames works on."""

    def __init__(self, metrics: Metrics, describe: Callable[[Iterator[FrameType]], Holder]) -> None:
        self._metrics, self._describe = metrics, describe
        self._stopped, self._answered = threading.Event(), threading.Event()
        self._silent_until = 0.0
        self._left_out = 0

    def start(self) -> None:
        """Start to watch the running event loop. Call it on the loop."""
        arguments = (asyncio.get_running_loop(), threading.get_ident())
        threading.Thread(target=self._watch, args=arguments, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()

    def _watch(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        while not self._stopped.wait(_PERIOD_S):
            asked = time.perf_counter()
            self._answered.clear()
            try:
                loop.call_soon_threadsafe(self._answer, asked)
            except RuntimeError:  # the loop is closed
                return
            if not self._answered.wait(HELD_S):
                self._wait(asked, thread)

    def _answer(self, asked: float) -> None:
        """Record the lag. The loop calls it."""
        self._metrics.lagged(time.perf_counter() - asked)
        self._answered.set()

    def _wait(self, asked: float, thread: int) -> None:
        """Wait for a late answer, and report the work that the loop's thread does now."""
        frames = list(_frames(_top(thread)))
        holder = {"route": UNKNOWN, **self._describe(iter(frames)), "at": list(map(_place, frames[:_FRAMES]))}
        del frames  # they refer to the request's body
        self._metrics.held(holder["route"])
        is_over = self._answered.wait(_LONG_S)
        self._report(holder, time.perf_counter() - asked, is_over)
        while not (is_over or self._stopped.is_set()):
            is_over = self._answered.wait(_LONG_S)

    def _report(self, holder: Holder, seconds: float, is_over: bool) -> None:
        """Log a line, unless the previous one was a moment ago."""
        now = time.monotonic()
        if now < self._silent_until:
            self._left_out += 1
            return
        left_out, self._left_out, self._silent_until = self._left_out, 0, now + _SILENCE_S
        more = {"left_out": left_out} if left_out else {}
        event = "event loop was held" if is_over else "event loop is held"
        _log.warning(event, ms=round(seconds * 1000, 3), **holder, **more)


def _top(thread: int) -> FrameType | None:
    """Return the innermost frame of a thread."""
    return sys._current_frames().get(thread)  # noqa: SLF001  # documented, despite its name


def _frames(top: FrameType | None) -> Iterator[FrameType]:
    """Yield the frames of a stack, the innermost first."""
    while top is not None:
        yield top
        top = top.f_back


def _place(frame: FrameType) -> str:
    return f"{frame.f_globals.get('__name__', '?')}.{frame.f_code.co_qualname}:{frame.f_lineno}"
