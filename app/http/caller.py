"""The headers that describe the client of a request: its address, its id for the request, and its trace.

The middleware and the fast path call `Callers.of`; `app.http.exchange` uses the result.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from app.http.client_address import ClientAddresses
from app.telemetry import trace_context
from app.telemetry.trace_context import TraceContext
from app.telemetry.tracing import Tracing


class Caller(NamedTuple):
    """The client of a request. `request_id` is the client's id for it, or the empty string."""

    address: str = ""
    request_id: str = ""
    trace: TraceContext | None = None


class Callers:
    """Reads the clients of requests, and begins their spans."""

    def __init__(self, addresses: ClientAddresses, tracing: Tracing) -> None:
        self._addresses, self._tracing = addresses, tracing

    def of(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> Caller:
        """Return the client. `peer` is the address of the connection; header names are in lower case."""
        request_id = b""
        parents, states = [], []
        for name, value in headers:
            if name == b"traceparent":
                parents.append(value.strip(b" \t"))
            elif name == b"tracestate":
                states.append(value)
            elif name == b"x-request-id" and not request_id:
                request_id = value.strip(b" \t")
        trace = trace_context.read(parents[0], b",".join(states)) if len(parents) == 1 else None
        address = self._addresses.of(peer, headers)
        return Caller(address, request_id.decode("latin-1"), self._tracing.begin(trace))

    def constant(self, peer: str) -> Caller:
        """Return the client of a request without such headers."""
        return Caller(peer, trace=self._tracing.begin(None))
