"""Spans of requests: `RequestSpan` is the data of one, `Tracing` the interface of their destination.

`app.http.caller` begins spans, `app.http.exchange` ends them. `tracing_of` selects the destination: OpenTelemetry, or
none. The OpenTelemetry SDK is imported only if spans are exported.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import structlog

from app.settings import Settings
from app.telemetry.trace_context import TraceContext

_log = structlog.get_logger("gradd.telemetry")

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


class UnusableTracing(Exception):
    """Spans cannot be exported with the settings. The message is for the operator."""


class Phase(NamedTuple):
    """A phase of a request. The times are of time.perf_counter(), which all processes of a machine share."""

    name: str
    began: float
    ended: float
    attributes: Mapping[str, str] = {}


class RequestSpan(NamedTuple):
    """The span of an answered request, with its phases.

    `ended_ns` is the end in time.time_ns(), `ended` in time.perf_counter(). `error` is the code of the problem if the
    service failed, else the empty string.
    """

    trace: TraceContext
    name: str
    began: float
    ended: float
    ended_ns: int
    attributes: Mapping[str, str | int]
    error: str
    phases: Sequence[Phase]


class Tracing(Protocol):
    """Interface of a destination of spans."""

    is_on: bool
    """Whether spans are recorded, also of requests without a trace context."""

    def begin(self, given: TraceContext | None) -> TraceContext | None:
        """Return the trace context of a new request. `given` is the client's."""
        ...

    def end(self, span: RequestSpan) -> None:
        """Record a span. Returns at once."""
        ...

    def close(self) -> None:
        """Export the waiting spans, for a few seconds at most."""
        ...


class NoTracing:
    """Records no spans."""

    is_on = False

    def begin(self, given: TraceContext | None) -> TraceContext | None:
        """Return the client's trace context."""
        return given

    def end(self, span: RequestSpan) -> None:
        """Discard the span."""

    def close(self) -> None:
        """Do nothing."""


def tracing_of(settings: Settings) -> Tracing:
    """Return the destination of spans. Raises UnusableTracing if the settings demand spans that cannot be exported.

    Without the setting `otel` there is a warning instead, because an orchestrator may set `OTEL_*` for all services.
    """
    try:
        return _destination(settings)
    except UnusableTracing as error:
        if settings.otel:
            raise
        _log.warning("spans are not exported", reason=str(error))
        return NoTracing()


def check(settings: Settings) -> None:
    """Verify that spans can be exported if the settings demand it. Raises UnusableTracing."""
    if settings.otel:
        _destination(settings).close()


def _destination(settings: Settings) -> Tracing:
    if not _is_wanted(settings):
        return NoTracing()
    try:
        from app.telemetry.otel import OpenTelemetry  # noqa: PLC0415  # an optional dependency
    except ModuleNotFoundError as error:
        raise UnusableTracing(f"The module {error.name} is missing: pip install 'gradd[otel]'.") from None
    return OpenTelemetry()


def _is_wanted(settings: Settings) -> bool:
    """Return whether to export spans. Source: OpenTelemetry specification, environment variables."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none":
        return False
    return any(os.environ.get(name) for name in _ENDPOINTS) if settings.otel is None else settings.otel
