"""Export of spans by OpenTelemetry, configured by the standard variables `OTEL_*`. `app.telemetry.tracing` imports it.

The event loop only puts each `RequestSpan` into the queue of the SDK's batch processor. The thread of the processor
makes the spans of the request and its phases, and sends them. Making them on the event loop would take as long as a
small call.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from itertools import islice
from threading import Thread

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from app.telemetry.trace_context import TraceContext, new_span_id, state_members
from app.telemetry.tracing import RequestSpan, UnusableTracing

_log = structlog.get_logger("gradd.telemetry")

_CLOSE_S = 5.0
"""Maximum seconds for the export of the last spans."""

_MAX_BATCH = 512
"""Maximum number of spans in a request to the collector: the default of OTEL_BSP_MAX_EXPORT_BATCH_SIZE."""

_SCOPE = InstrumentationScope("gradd", version("gradd"))

_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


class OpenTelemetry:
    """Samples requests, and exports their spans. Raises UnusableTracing."""

    is_on = True

    def __init__(self) -> None:
        resource = _resource()
        self._sampler = TracerProvider(resource=resource, shutdown_on_exit=False).sampler
        try:
            self._processor = BatchSpanProcessor(_Expansion(_exporter(), resource))
        except ValueError as error:
            raise UnusableTracing(f"A variable OTEL_* has a wrong value: {error}.") from None

    def begin(self, given: TraceContext | None) -> TraceContext:
        """Return the trace context of a new request, in a new trace if the client has none. The sampler decides."""
        trace_id = f"{random.getrandbits(128) or 1:032x}" if given is None else given.trace_id
        parent = _parent(given) if given else None
        context = None if parent is None else set_span_in_context(NonRecordingSpan(parent))
        sampled = self._sampler.should_sample(context, int(trace_id, 16), "request", SpanKind.SERVER)
        return TraceContext(
            trace_id=trace_id,
            span_id=new_span_id() if given is None else given.span_id,
            parent_id=None if given is None else given.parent_id,
            is_sampled=given is not None and given.is_sampled,
            is_recorded=sampled.decision is Decision.RECORD_AND_SAMPLE,
            state="" if given is None else given.state,
        )

    def end(self, span: RequestSpan) -> None:
        """Put a recorded span into the queue. If the queue is full, the oldest span is dropped."""
        if span.trace.is_recorded:
            self._processor.on_end(_Waiting(span))

    def close(self) -> None:
        """Export the waiting spans, for a few seconds at most."""
        closing = Thread(target=self._processor.shutdown, name="otel-shutdown", daemon=True)
        closing.start()
        closing.join(_CLOSE_S)
        if closing.is_alive():
            _log.warning("the last spans were not exported", seconds=_CLOSE_S)


class _Waiting(ReadableSpan):
    """A request in the processor's queue."""

    def __init__(self, request: RequestSpan) -> None:
        self.request = request
        self._context = _ANY_SAMPLED


_ANY_SAMPLED = SpanContext(1, 1, is_remote=False, trace_flags=_SAMPLED)
"""The processor reads only whether a span is sampled."""


class _Expansion(SpanExporter):
    """Makes the spans of waiting requests, and passes them to an exporter. Runs in the processor's thread."""

    def __init__(self, exporter: SpanExporter, resource: Resource) -> None:
        self._exporter, self._resource = exporter, resource

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export the spans of requests and of their phases."""
        made = (part for span in spans if isinstance(span, _Waiting) for part in self._made(span.request))
        results = [self._exporter.export(batch) for batch in iter(lambda: list(islice(made, _MAX_BATCH)), [])]
        failed = SpanExportResult.FAILURE in results
        return SpanExportResult.FAILURE if failed else SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Close the exporter."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Flush the exporter."""
        return self._exporter.force_flush(timeout_millis)

    def _made(self, request: RequestSpan) -> Iterator[ReadableSpan]:
        trace = request.trace
        parent = _parent(trace)
        own = _context(trace.trace_id, trace.span_id, parent.trace_state if parent else None)

        def at(seconds: float) -> int:
            return request.ended_ns - round((request.ended - seconds) * 1e9)

        yield ReadableSpan(
            request.name,
            context=own,
            parent=parent,
            resource=self._resource,
            attributes=request.attributes,
            kind=SpanKind.SERVER,
            status=Status(StatusCode.ERROR, request.error) if request.error else Status(StatusCode.UNSET),
            start_time=at(request.began),
            end_time=request.ended_ns,
            instrumentation_scope=_SCOPE,
        )
        for phase in request.phases:
            yield ReadableSpan(
                phase.name,
                context=_context(trace.trace_id, new_span_id(), own.trace_state),
                parent=own,
                resource=self._resource,
                attributes=phase.attributes,
                start_time=at(phase.began),
                end_time=at(phase.ended),
                instrumentation_scope=_SCOPE,
            )


def _parent(trace: TraceContext) -> SpanContext | None:
    """Return the client's span, or None if the trace begins here."""
    if trace.parent_id is None:
        return None
    return SpanContext(
        int(trace.trace_id, 16),
        int(trace.parent_id, 16),
        is_remote=True,
        trace_flags=_SAMPLED if trace.is_sampled else TraceFlags(TraceFlags.DEFAULT),
        trace_state=TraceState(state_members(trace.state)),
    )


def _context(trace_id: str, span_id: str, state: TraceState | None) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=_SAMPLED, trace_state=state)


def _resource() -> Resource:
    """Return the resource of OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME, with the service name gradd by default."""
    found = Resource.create({SERVICE_VERSION: _SCOPE.version or ""})
    named = not str(found.attributes.get(SERVICE_NAME, "unknown_service")).startswith("unknown_service")
    return found if named else found.merge(Resource({SERVICE_NAME: "gradd"}))


def _exporter() -> SpanExporter:
    """Return the exporter of OTEL_TRACES_EXPORTER. Raises UnusableTracing."""
    kind = os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() or "otlp"
    if kind == "console":
        return ConsoleSpanExporter()
    if kind != "otlp":
        raise UnusableTracing(f"OTEL_TRACES_EXPORTER={kind}: it takes otlp, console or none.")
    name, protocol = _protocol()
    if protocol != "http/protobuf":
        raise UnusableTracing(f"{name}={protocol}: spans are sent as http/protobuf only.")
    return OTLPSpanExporter()


def _protocol() -> tuple[str, str]:
    """Return the variable that sets the protocol, and the protocol."""
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if found := os.environ.get(name, "").strip():
            return name, found
    return "", "http/protobuf"
