"""Log lines on standard error: a JSON object each, or coloured text. uvicorn's lines have the same format.

The command line calls `configure` once. `app.http.exchange` passes a line for each request to an `AccessLog`, which
writes many lines together: a system call and structlog's processors for each line cost as much as a small computation.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import orjson
import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

from app.settings import Settings
from app.telemetry.bounded_stream import BoundedStream

_DELAY_S = 0.05
"""Maximum seconds between a request and its line."""

_MOST_LINES = 500
"""Maximum number of lines that wait."""


_streams: list[BoundedStream] = []
"""Standard output and standard error of the process, once `configure` has replaced them."""


def configure(settings: Settings) -> None:
    """Set one format for all log lines of the process, and let nothing wait for a reader of its output."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = BoundedStream(descriptor, partial(_notice, as_json=settings.log_format == "json"))
        setattr(sys, name, stream)
        _streams.append(stream)
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: Processor = _json if settings.log_format == "json" else structlog.dev.ConsoleRenderer()
    formatter = ProcessorFormatter(
        foreign_pre_chain=shared, processors=[ProcessorFormatter.remove_processors_meta, renderer]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def dropped_lines() -> int:
    """Return the number of lines that were dropped because nobody read them in time."""
    return sum(stream.dropped for stream in _streams)


def _notice(lines: int, *, as_json: bool) -> str:
    """Return the line for lines that were dropped at its place."""
    when = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    event: EventDict = {"event": "log lines dropped", "lines": lines, "level": "warning", "timestamp": when}
    render = _json if as_json else structlog.dev.ConsoleRenderer()
    return f"{render(None, 'warning', event)}\n"


def _json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return orjson.dumps(event, default=str).decode()


class AccessLog:
    """Writes a log line for each request, in batches: a line is written within `_DELAY_S` seconds.

    In a batch, the formatting of a line takes a third of the time. Call `flush` at the end of the process.
    """

    def __init__(self, settings: Settings) -> None:
        self._wanted = settings.log_level in {"debug", "info"}
        self._console = None if settings.log_format == "json" else structlog.dev.ConsoleRenderer()
        self._waiting: list[tuple[float, Mapping[str, Any]]] = []
        self._timer: asyncio.TimerHandle | None = None

    def write(self, members: Mapping[str, Any]) -> None:
        """Add a line. `ms` is rounded to three decimals. Call it on the event loop."""
        if not self._wanted:
            return
        self._waiting.append((time.time(), members))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_DELAY_S, self.flush)
        if len(self._waiting) >= _MOST_LINES:
            self.flush()

    def flush(self) -> None:
        """Write the waiting lines."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        if waiting:
            sys.stderr.write("".join([self._line(at, members) for at, members in waiting]))
            sys.stderr.flush()

    def _line(self, at: float, members: Mapping[str, Any]) -> str:
        ms, when = round(members["ms"], 3), datetime.fromtimestamp(at, UTC)
        event: EventDict = {**members, "ms": ms, "event": "request", "level": "info", "timestamp": when}
        if self._console is None:
            return orjson.dumps(event, option=orjson.OPT_UTC_Z).decode() + "\n"
        return self._console(None, "info", {**event, "timestamp": event["timestamp"].isoformat()}) + "\n"
