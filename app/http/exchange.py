"""The record of one request: its id, the common headers of its answer, its log line and its metrics.

`app.http.middleware`, `app.http.protocol` and `app.http.fast_path.shortcut` make an `Exchange` for each request.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from types import FrameType
from typing import Any, NamedTuple

import structlog

from app.access.key_file import ApiKey
from app.access.middleware import KEY, WINDOW
from app.access.quotas import CallWindow
from app.errors import MEDIA_TYPE, ProblemError, Unexpected
from app.evaluation.evaluator import Answer, Timings
from app.http.caller import Caller
from app.telemetry.logs import AccessLog
from app.telemetry.metrics import Metrics
from app.telemetry.trace_context import TraceContext
from app.telemetry.tracing import Phase, RequestSpan, Tracing

_log = structlog.get_logger("gradd.access")

Headers = list[tuple[bytes, bytes]]

_METHODS = {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}
"""Methods that are named in spans. Others count as one, so that clients cannot invent names."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)

_PROCESS = secrets.token_hex(8)
_COUNTER = count()
"""The halves of a generated request id: the first is the process's, the second is the request's number."""

_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"cache-control": b"no-store",
}
"""Common headers of all responses. A route may set other values."""


def lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return headers as lines of HTTP/1.1."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


COMMON_LINES = lines(_HEADERS.items()).decode("ascii")
"""The common headers as lines of HTTP/1.1."""

COMPUTED = "gradd.computed"
"""The key of a request's `ComputationTimes` in its scope."""


class ComputationTimes(NamedTuple):
    """The times of a computation, without its result: see `Answer`."""

    timings: Timings
    began: float
    waiting: tuple[float, float] | None

    @classmethod
    def of(cls, answer: Answer) -> ComputationTimes:
        """Return the times of an answer."""
        return cls(answer.timings, answer.began, answer.waiting)

    def phases(self) -> list[Phase]:
        """Return the wait for a worker, if any, and the evaluator's phases."""
        phases = [] if self.waiting is None else [Phase("wait", *self.waiting)]
        at = self.began
        *seconds, kept = self.timings
        for name, taken in zip(("parse", "plan", "run", "encode"), seconds, strict=True):
            attributes = {"gradd.plan": "hit" if kept else "miss"} if name == "plan" else {}
            phases.append(Phase(name, at, at + taken, attributes))
            at += taken
        return phases


_PATH = 256
"""The most characters of a path in the log."""


class Exchange:
    """One request and the state of its answer.

    `scope` is the ASGI scope, in which the router stores the matched route; the fast path sets `matched` instead.
    `status` is the HTTP status, `problem` the problem of a refusal.
    The middleware stores the client's key and its quota of calls in the scope, the routes the times of the computation;
    the fast path sets `key`, `window` and `computation` instead.
    """

    scope: Mapping[str, Any] = {}
    matched = "unmatched"
    status = 0
    problem: ProblemError | None = None
    key: ApiKey | None = None
    computation: ComputationTimes | None = None
    window: CallWindow | None = None

    def __init__(self, method: str, path: str, caller: Caller) -> None:
        self.began = time.perf_counter()
        given = caller.request_id
        self.id = given if given and _REQUEST_ID.fullmatch(given) else f"{_PROCESS}{next(_COUNTER):016x}"
        self.trace = caller.trace
        self._method, self._path, self._client = method, path, caller.address

    @property
    def route(self) -> str:
        """The path template of the matched route."""
        path: str = getattr(self.scope.get("route"), "path", self.matched)
        return path

    @property
    def timing(self) -> str:
        """The time since the request began, in the format of the Server-Timing header."""
        return f"total;dur={(time.perf_counter() - self.began) * 1000:.3f}"

    @property
    def quota(self) -> Headers:
        """The headers of the key's quota of calls."""
        window: CallWindow | None = self.window or self.scope.get(WINDOW)
        return [] if window is None else window.headers

    def answered(self, status: int, given: Sequence[tuple[bytes, bytes]]) -> Headers:
        """Record the answer's status, and return its headers: the given headers and the common headers."""
        self.status = status
        names = {name for name, _ in given}
        return [
            *given,
            (b"x-request-id", self.id.encode("ascii")),
            (b"server-timing", self.timing.encode("ascii")),
            *self.quota,
            *([] if self.trace is None else [(b"traceresponse", self.trace.response.encode("ascii"))]),
            *[header for header in _HEADERS.items() if header[0] not in names],
        ]

    def refused(self, problem: ProblemError) -> tuple[Headers, bytes]:
        """Record the problem, and return the headers and the body of its problem document.

        A traceback refers to frames, their variables refer to the request's body, and a frame may refer to this
        exchange. Therefore the problem is kept without its traceback and without its cause and context.
        """
        problem.__traceback__ = problem.__context__ = problem.__cause__ = None
        self.problem = problem
        body = problem.body(self.id)
        headers = {"Content-Type": MEDIA_TYPE, "Content-Length": str(len(body)), **problem.headers}
        return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()], body

    def failed(self) -> ProblemError:
        """Log the current exception, and return a problem without its details."""
        _log.exception("failed", request_id=self.id, **self._trace_ids())
        return Unexpected(f"The service failed; its log tells more under the id {self.id}.")

    def report(self, metrics: Metrics, access: AccessLog, tracing: Tracing) -> None:
        """Log and count the request, and end its span."""
        ended = time.perf_counter()
        seconds = ended - self.began
        metrics.answered(self.route, self.status, seconds)
        line: dict[str, Any] = {
            "request_id": self.id,
            "status": self.status,
            "ms": seconds * 1000,
            "method": self._method,
            "path": self._path[:_PATH],
            "client": self._client,
            **self._trace_ids(),
        }
        key = self.key or self.scope.get(KEY)
        if key is not None:
            line["key"] = key.name
        if self.problem is not None:
            metrics.refused(self.problem)
            line["code"] = self.problem.code
        access.write(line)
        if self.trace is not None and tracing.is_on:
            tracing.end(self._span(self.trace, ended))

    def _span(self, trace: TraceContext, ended: float) -> RequestSpan:
        """Return the span of the request. Source: OpenTelemetry semantic conventions for HTTP servers."""
        method = self._method if self._method in _METHODS else "_OTHER"
        attributes: dict[str, str | int] = {
            "http.request.method": method,
            "http.response.status_code": self.status,
            "url.path": self._path[:_PATH],
            "url.scheme": "http",
            "client.address": self._client,
            "gradd.request_id": self.id,
        }
        name = "HTTP" if method == "_OTHER" else method
        if self.route != Exchange.matched:
            attributes["http.route"] = self.route
            name = f"{name} {self.route}"
        code = "" if self.problem is None else self.problem.code
        if code:
            attributes["error.type"] = code
        error = code if self.status >= 500 else ""
        computation: ComputationTimes | None = self.scope.get(COMPUTED, self.computation)
        phases = [] if computation is None else computation.phases()
        return RequestSpan(trace, name, self.began, ended, time.time_ns(), attributes, error, phases)

    def _trace_ids(self) -> dict[str, str]:
        """Return the members of a log line that name the trace and the span, if there is a trace."""
        return {} if self.trace is None else {"trace_id": self.trace.trace_id, "span_id": self.trace.span_id}


def in_progress(frames: Iterator[FrameType]) -> dict[str, str]:
    """Return the route and the id of the request that a stack of frames works on; empty without a request.

    `app.telemetry.watchdog` calls it. The functions that answer a request name its exchange `exchange`.
    """
    for frame in frames:
        if "exchange" in frame.f_code.co_varnames:
            exchange = frame.f_locals.get("exchange")
            if isinstance(exchange, Exchange):
                return {"route": exchange.route, "request_id": exchange.id}
    return {}
