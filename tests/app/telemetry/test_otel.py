"""Spans of requests and their phases, as an exporter gets them and as a collector receives them."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from structlog.testing import capture_logs

from app.main import create_app
from app.routes.examples.inline import TUTORIAL
from app.settings import Settings
from app.startup import BadSettings, settings_of
from app.telemetry.tracing import UnusableTracing
from tests.app.http.test_shortcut import GRADIENTS, LEAVE, TRACEPARENT, post
from tests.app.listening import Listening, listening
from tests.app.telemetry.collector import collecting
from tests.serving import CHECKOUT, free_port

TRACE, PARENT = TRACEPARENT.split("-")[1:3]
PHASES = ["parse", "plan", "run", "encode"]
WAYS: dict[str, tuple[dict[str, Any], bool, list[str]]] = {
    "the fast path": ({}, True, PHASES),
    "the event loop": ({}, False, PHASES),
    "a worker": ({"inline_ms": 0}, True, ["wait", *PHASES]),
}
"""Settings, whether there is a shortcut, and the phases, by where a call is computed."""


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")


Exported = Callable[..., list[ReadableSpan]]


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Exported:
    """Serve with a way's settings, send requests, and return the spans, in the order of their start."""
    exporter = InMemorySpanExporter()
    monkeypatch.setattr("app.telemetry.otel._exporter", lambda: exporter)

    def send(*requests: bytes, way: str = "the fast path") -> list[ReadableSpan]:
        settings, shortcut, _ = WAYS[way]
        with listening(create_app(Settings(otel=True, concurrency=1, **settings)), shortcut=shortcut) as found:
            for request in requests:
                found.exchange(request, LEAVE)
        spans = [
            span
            for span in exporter.get_finished_spans()
            if "health" not in str((span.attributes or {}).get("url.path"))
        ]
        return sorted(spans, key=lambda span: span.start_time or 0)

    return send


def ids(span: ReadableSpan) -> tuple[str, str, str | None]:
    """Return a span's trace, its own id and its parent's."""
    context = span.get_span_context()
    assert context is not None
    return f"{context.trace_id:032x}", f"{context.span_id:016x}", span.parent and f"{span.parent.span_id:016x}"


@pytest.mark.parametrize("way", WAYS)
def test_a_call_has_a_span_and_one_for_each_phase(exported: Exported, way: str) -> None:
    state = "a=1,b@c=2"
    request, *phases = exported(
        post(GRADIENTS, TUTORIAL, f"traceparent: {TRACEPARENT}", f"tracestate: {state}", "X-Request-ID: mine"), way=way
    )
    assert [phase.name for phase in phases] == WAYS[way][2]
    assert (request.name, request.kind, request.status.status_code) == (
        "POST /v1/gradients",
        SpanKind.SERVER,
        StatusCode.UNSET,
    )
    assert dict(request.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/v1/gradients",
        "http.response.status_code": 200,
        "url.path": "/v1/gradients",
        "url.scheme": "http",
        "client.address": "127.0.0.1",
        "gradd.request_id": "mine",
    }
    trace, own, parent = ids(request)
    assert (trace, parent) == (TRACE, PARENT)
    assert len({own, PARENT, *(ids(phase)[1] for phase in phases)}) == len(phases) + 2
    assert {(ids(phase)[0], ids(phase)[2]) for phase in phases} == {(TRACE, own)}
    contexts = [span.get_span_context() for span in (request, *phases)]
    assert {context and context.trace_state.to_header() for context in contexts} == {state}
    times = [time for phase in phases for time in (phase.start_time, phase.end_time)]
    times = [request.start_time, *times, request.end_time]
    assert times == sorted(times)  # type: ignore[type-var]
    plan = next(phase for phase in phases if phase.name == "plan")
    assert dict(plan.attributes or {}) == {"gradd.plan": "miss"}
    assert request.resource.attributes["service.name"] == "gradd"


@pytest.mark.parametrize("way", WAYS)
def test_a_call_without_a_trace_begins_one(exported: Exported, way: str) -> None:
    calls = [post(GRADIENTS, TUTORIAL), post(GRADIENTS, TUTORIAL, "traceparent: none", "tracestate: a=1")]
    spans = [span for span in exported(*calls, way=way) if span.kind is SpanKind.SERVER]
    assert len({ids(span)[0] for span in spans}) == 2
    assert all(span.parent is None for span in spans)
    assert all(not span.get_span_context().trace_state for span in spans)  # type: ignore[union-attr]


def test_a_refusal_has_its_code_and_only_a_failure_is_an_error(
    exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("app.routes.graphs.registration.read", fail)
    refused, unknown, malformed, failed = exported(
        post(GRADIENTS, b"{"), post("/nothing", b"", method="BREW"), b"no HTTP\r\n\r\n", post("/v1/graphs", TUTORIAL)
    )
    found = [
        (span.name, (span.attributes or {})["http.response.status_code"], (span.attributes or {})["error.type"])
        for span in (refused, unknown, malformed, failed)
    ]
    assert found == [
        ("POST /v1/gradients", 400, "malformed_json"),
        ("HTTP", 400, "malformed_http"),
        ("HTTP", 400, "malformed_http"),
        ("POST /v1/graphs", 500, "internal_error"),
    ]
    assert refused.status.status_code is StatusCode.UNSET
    assert (failed.status.status_code, failed.status.description) == (StatusCode.ERROR, "internal_error")


@pytest.mark.parametrize("state", ["a", "A=1", "a=1,a=2", "a=\xe9", ",".join(f"a{n}=1" for n in range(33))])
def test_an_invalid_tracestate_is_left_out(exported: Exported, state: str) -> None:
    spans = exported(post(GRADIENTS, TUTORIAL, f"traceparent: {TRACEPARENT}", f"tracestate: {state}"))
    assert ids(spans[0])[0] == TRACE
    assert all(not span.get_span_context().trace_state for span in spans)  # type: ignore[union-attr]


def flags(found: Listening, *headers: str) -> bytes:
    """Return the flags of the reply's `traceresponse`."""
    reply = found.exchange(post(GRADIENTS, TUTORIAL, *headers), LEAVE)
    return reply.partition(b"traceresponse: ")[2].partition(b"\r\n")[0][-2:]


def test_the_clients_decision_to_record_is_kept(exported: Exported) -> None:
    not_sampled = f"{TRACEPARENT[:-2]}00"
    assert not exported(post(GRADIENTS, TUTORIAL, f"traceparent: {not_sampled}"))
    with listening(create_app(Settings(otel=True))) as found:
        assert flags(found) == b"01"
        assert flags(found, f"traceparent: {TRACEPARENT}") == b"01"
        assert flags(found, f"traceparent: {not_sampled}") == b"00"


def test_the_standard_sampler_is_used(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    assert not exported(post(GRADIENTS, TUTORIAL, f"traceparent: {TRACEPARENT}"), post(GRADIENTS, TUTORIAL))


@pytest.mark.parametrize("way", WAYS)
def test_a_collector_receives_them(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, shortcut, phases = WAYS[way]
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address)
        with listening(create_app(Settings(**settings)), shortcut=shortcut) as found:
            found.exchange(post(GRADIENTS, TUTORIAL, f"traceparent: {TRACEPARENT}"), LEAVE)
    resources = [resource for request in collector.requests for resource in request.resource_spans]
    spans = [span for resource in resources for scope in resource.scope_spans for span in scope.spans]
    names = [
        span.name for span in sorted(spans, key=lambda span: span.start_time_unix_nano) if span.trace_id.hex() == TRACE
    ]
    assert names == ["POST /v1/gradients", *phases]
    assert collector.paths == {"/v1/traces"}
    found_names = {
        attribute.value.string_value
        for resource in resources
        for attribute in resource.resource.attributes
        if attribute.key == "service.name"
    }
    assert found_names == {"mine"}


def test_calls_are_answered_without_the_collector_and_the_server_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr("app.telemetry.otel._CLOSE_S", 0.01)
    with listening(create_app()) as found:
        assert found.exchange(*[post(GRADIENTS, TUTORIAL)] * 3, LEAVE).count(b"HTTP/1.1 200 OK") == 4


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER=zipkin"),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "1"}, "OTEL_"),
    ],
)
def test_what_cannot_be_exported_is_named_at_the_start(
    variables: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UnusableTracing, match=named):
        create_app(Settings(otel=True))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    with capture_logs() as lines:
        assert not create_app(Settings()).state.services.tracing.is_on
    assert [(line["event"], named in line["reason"]) for line in lines] == [("spans are not exported", True)]
    monkeypatch.setenv("GRADD_OTEL", "true")
    with pytest.raises(BadSettings, match=f"GRADD_OTEL: .*{named}"):
        settings_of({}, serves=True)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "app.telemetry.otel", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(UnusableTracing, match=r"pip install 'gradd\[otel\]'"):
        create_app(Settings(otel=True))


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "GRADD_OTEL": "false"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
        {"GRADD_OTEL": "true", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_nothing_is_imported_where_it_is_off(variables: dict[str, str]) -> None:
    program = (
        "import sys; from app.main import create_app; create_app(); "
        "off = ('opentelemetry.sdk', 'opentelemetry.exporter', 'google'); "
        "print([name for name in sys.modules if name.startswith(off)])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, env=variables, capture_output=True, text=True, check=True
    )
    assert shown.stdout == "[]\n"
