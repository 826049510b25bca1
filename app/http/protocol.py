"""The HTTP/1.1 protocol: uvicorn's httptools protocol with limits on the size and the arrival time of headers.

httptools parses in C; h11 parses in Python. Neither httptools nor uvicorn limits the size of a request's headers or
the time until they arrive. Without limits, a few slow connections could exhaust the server's memory and sockets.
`app.http.server` and `app.http.fast_path.connection` use this module.
"""

from __future__ import annotations

import asyncio
from functools import cache
from http import HTTPStatus

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.errors import HeadersTooLarge, MalformedHttp, ProblemError, SlowHeaders
from app.http.exchange import Exchange, lines
from app.http.large_body import Receiver, promised
from app.http.services import Services


class BoundedProtocol(HttpToolsProtocol):
    """One connection. `bounded_protocol` makes subclasses with the limits of an application."""

    services: Services
    max_header_bytes: int
    header_timeout_s: float

    peer = ""
    """The address of the other end of the connection."""
    url = b""
    """The request target, as far as it has arrived."""
    _header_bytes = 0
    """Bytes received since the end of the previous request, counted until the headers are complete."""
    _in_headers = True
    _timer: asyncio.TimerHandle | None = None
    _receiver: Receiver | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer for the first request's headers."""
        super().connection_made(transport)
        self.peer = self.client[0] if self.client else ""
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count the header bytes. Each later request on the connection starts its own timer."""
        expecting = self._in_headers
        if expecting and self._timer is None:
            self._expect_headers()
        self._header_bytes += len(data)
        super().data_received(data)
        if not self._in_headers:
            if expecting:
                self._receive_large_body()
        elif self._header_bytes > self.max_header_bytes:
            detail = f"The request's line and headers have more than {self.max_header_bytes} bytes."
            self._refuse(HeadersTooLarge(detail))

    def _receive_large_body(self) -> None:
        """Switch to `Receiver` for a large body. The application has not read any of the body yet."""
        size = promised(self.headers)
        if not size or self.pipeline or self.transport.is_closing():
            return
        lease = self.services.segments.acquire(size)
        if lease is None:
            return
        cycle = self.cycle
        self._receiver = Receiver(self, cycle, lease, bytes(cycle.body))
        cycle.body.clear()
        cycle.message_event.clear()
        cycle.receive = self._receiver.receive  # type: ignore[method-assign]
        self._switch_to(self._receiver)

    def take_back(self) -> None:
        """Continue after a large body."""
        self._switch_to(self)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.on_message_complete()

    def _switch_to(self, protocol: asyncio.BaseProtocol) -> None:
        """Switch the transport to another protocol. The transport chooses its way of reading when reading resumes."""
        self.flow.pause_reading()
        self.transport.set_protocol(protocol)
        self.flow.resume_reading()

    def on_headers_complete(self) -> None:
        """Stop counting and stop the timer until the body is complete."""
        self._in_headers = False
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Start counting for the next request."""
        self._in_headers = True
        self._header_bytes = 0
        self.url = b""
        self._stop_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """After an answer before the body's end, apply the time limit of headers to the rest of the body."""
        super().on_response_complete()
        if self._receiver is not None:
            self._receiver.drop()
            self._receiver = None
        if not self._in_headers:
            self._timer = self.loop.call_later(self.header_timeout_s, self.transport.close)

    def _expect_headers(self) -> None:
        self._timer = self.loop.call_later(self.header_timeout_s, self._refuse_slow)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse_slow(self) -> None:
        self._refuse(SlowHeaders(f"The request's headers did not arrive within {self.header_timeout_s:g} seconds."))

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """Refuse bytes that are not HTTP. uvicorn calls this method with its own message, which is not used."""
        self._refuse(MalformedHttp("The bytes that arrived are not an HTTP/1.1 request."))

    def _refuse(self, problem: ProblemError) -> None:
        """Answer with a problem and close the connection. The log has the parts of method and path that arrived."""
        if self.transport.is_closing():
            return
        path = self.url.partition(b"?")[0].decode("latin-1")
        exchange = Exchange(self.parser.get_method().decode("ascii") if path else "", path, self.peer, "")
        headers, body = exchange.refused(problem)
        head = lines(exchange.answered(problem.status, [*headers, (b"connection", b"close")]))
        self.transport.write(b"".join((self.beginning(problem.status), head, b"\r\n", body)))
        self.transport.close()
        exchange.report(self.services.metrics, self.services.access)

    def beginning(self, status: int) -> bytes:
        """Return the status line and the headers that the server adds to every response."""
        return _status_line(status) + lines(self.server_state.default_headers)


@cache
def _status_line(status: int) -> bytes:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode("ascii")


def bounded_protocol(services: Services) -> type[BoundedProtocol]:
    """Return the protocol class of an application. uvicorn makes one instance for each connection."""

    class Bounded(BoundedProtocol):
        pass

    Bounded.services = services
    Bounded.max_header_bytes = services.settings.max_header_bytes
    Bounded.header_timeout_s = services.settings.header_timeout_ms / 1000
    return Bounded
