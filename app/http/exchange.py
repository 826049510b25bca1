"""One request and its answer, as client and operator see them: an id, the headers that every answer has, a log line,
counters.

`app.http.middleware` and `app.http.fast_path.shortcut` make one for every request, however it is answered.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

import structlog

from app.errors import MEDIA_TYPE, ProblemError, Unexpected
from app.telemetry.logs import AccessLog
from app.telemetry.metrics import Metrics

_log = structlog.get_logger("gradd.access")

Headers = list[tuple[bytes, bytes]]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)

_PROCESS = secrets.token_hex(8)
_COUNTER = count()
"""The halves of the ids that are given here: one is this process's, the other the request's."""

_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"cache-control": b"no-store",
}
"""What every response has unless its route says otherwise."""


def lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return headers as they are sent."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


COMMON_LINES = lines(_HEADERS.items()).decode("ascii")
"""The same as they are sent."""

_PATH = 256
"""Characters of a path that are logged."""


class Exchange:
    """One request and what has been answered so far. `given_id` is the id that the client has for it, if any.

    `route` is the template of its path, once that is known.
    """

    route = "unmatched"
    status = 0
    problem: ProblemError | None = None

    def __init__(self, method: str, path: str, given_id: str) -> None:
        self.began = time.perf_counter()
        self.id = given_id if given_id and _REQUEST_ID.fullmatch(given_id) else f"{_PROCESS}{next(_COUNTER):016x}"
        self._method, self._path = method, path

    @property
    def timing(self) -> str:
        """What it took until now, as the header Server-Timing says it."""
        return f"total;dur={(time.perf_counter() - self.began) * 1000:.3f}"

    def answered(self, status: int, given: Sequence[tuple[bytes, bytes]]) -> Headers:
        """Note the answer's status, and return its headers: those given, and those that every response has."""
        self.status = status
        names = {name for name, _ in given}
        return [
            *given,
            (b"x-request-id", self.id.encode("ascii")),
            (b"server-timing", self.timing.encode("ascii")),
            *[header for header in _HEADERS.items() if header[0] not in names],
        ]

    def refused(self, problem: ProblemError) -> tuple[Headers, bytes]:
        """Note the problem, and return its document and the headers of that.

        A traceback holds frames, whose variables are the request's body, and a frame may hold this exchange. So the
        problem is kept without its traceback and without the exceptions that led to it.
        """
        problem.__traceback__ = problem.__context__ = problem.__cause__ = None
        self.problem = problem
        body = problem.body(self.id)
        headers = {"Content-Type": MEDIA_TYPE, "Content-Length": str(len(body)), **problem.headers}
        return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()], body

    def failed(self) -> ProblemError:
        """Log the defect that is being handled, and return the problem that tells nobody what it is."""
        _log.exception("failed", request_id=self.id)
        return Unexpected(f"The service failed; its log tells more under the id {self.id}.")

    def report(self, metrics: Metrics, access: AccessLog) -> None:
        """Log and count the request."""
        seconds = time.perf_counter() - self.began
        metrics.answered(self.route, self.status, seconds)
        line: dict[str, Any] = {
            "request_id": self.id,
            "status": self.status,
            "ms": seconds * 1000,
            "method": self._method,
            "path": self._path[:_PATH],
        }
        if self.problem is not None:
            metrics.refused(self.problem)
            line["code"] = self.problem.code
        access.write(line)
