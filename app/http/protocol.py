"""The HTTP/1.1 protocol: uvicorn's httptools protocol with limits on the size and the arrival time of headers.

httptools parses in C; h11 parses in Python. Neither httptools nor uvicorn limits the size of a request's headers or
the time until they arrive. Without limits, a few slow connections could exhaust the server's memory and sockets.
`app.http.server` and `app.http.fast_path.connection` use this module.
"""

from __future__ import annotations

import asyncio
from functools import cache
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.errors import HeadersTooLarge, MalformedHttp, ProblemError, SlowHeaders
from app.http.exchange import Exchange, lines
from app.http.incoming import Incoming
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
    _incoming: Incoming | None = None
    """The body that arrives, if it did not come with its head."""
    _refusal: ProblemError | None = None
    """The problem that ends the connection. All later bytes are discarded."""

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
        if self._refusal is not None:
            return
        self._unset_keepalive_if_required()
        expecting = self._in_headers
        if expecting and self._timer is None:
            self._expect_headers()
        self._header_bytes += len(data)
        self._parse(data)
        if not self._in_headers:
            if expecting and self._incoming is None:
                self._receive_body()
        elif self._header_bytes > self.max_header_bytes:
            detail = f"The request's line and headers have more than {self.max_header_bytes} bytes."
            self._refuse(HeadersTooLarge(detail))

    def _parse(self, data: bytes) -> None:
        """Pass bytes to the parser. It stops after the head of a request that asks for another protocol."""
        left = memoryview(data)
        while left:
            try:
                self.parser.feed_data(left)
            except httptools.HttpParserUpgrade as upgrade:
                left = left[upgrade.args[0] :]
                self._ignore_upgrade()
            except httptools.HttpParserError as error:
                self._refuse(_problem(error))
                return
            else:
                return

    def _ignore_upgrade(self) -> None:
        """Continue after the head of a request that asks for another protocol. Source: RFC 9110, section 7.8.

        Only a new parser reads the body. It gets a head that frames the same body.
        """
        framing = [header for header in self.headers if header[0] in _FRAMING]
        self.parser = _parser(_AfterHead(self))
        self.parser.feed_data(b"POST / HTTP/1.1\r\n" + lines(framing) + b"\r\n")

    def _receive_body(self) -> None:
        """Prepare for the rest of a body. The application has not read any of it yet. Switch to `Receiver` if large."""
        size = promised(self.headers)
        lease = None
        if size and not self.pipeline and not self.transport.is_closing():
            lease = self.services.segments.acquire(size)
        if lease is None:
            self._incoming = Incoming(self.cycle)
        else:
            self._incoming = receiver = Receiver(self, self.cycle, lease)
            self._switch_to(receiver)

    def take_back(self) -> None:
        """Continue after a large body."""
        self._switch_to(self)
        self.parser = _parser(self)
        self.on_message_complete()

    def _switch_to(self, protocol: asyncio.BaseProtocol) -> None:
        """Switch the transport to another protocol. The transport chooses its way of reading when reading resumes."""
        self.flow.pause_reading()
        self.transport.set_protocol(protocol)
        self.flow.resume_reading()

    def on_headers_complete(self) -> None:
        """Stop counting and stop the timer until the body is complete."""
        if not self.url.startswith(b"/"):
            self.url = _with_path(self.url)
        super().on_headers_complete()
        self._in_headers = False
        self._stop_timer()

    def on_message_complete(self) -> None:
        """Start counting for the next request, unless the parser has stopped before the body."""
        if self.parser.should_upgrade():
            return
        self.end_message()

    def end_message(self) -> None:
        """Prepare for the next request."""
        self._in_headers = True
        self._header_bytes = 0
        self.url = b""
        self._incoming = None
        self._stop_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """After an answer before the body's end, apply the time limit of headers to the rest of the body."""
        super().on_response_complete()
        if not self.is_answered:
            return
        if not self._in_headers:
            if self._incoming is not None:
                self._incoming.drop()
            self._timer = self.loop.call_later(self.header_timeout_s, self.transport.close)
        if self._refusal is not None:
            self._end_with(self._refusal)

    def _expect_headers(self) -> None:
        self._timer = self.loop.call_later(self.header_timeout_s, self._refuse_slow)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse_slow(self) -> None:
        self._refuse(SlowHeaders(f"The request's headers did not arrive within {self.header_timeout_s:g} seconds."))

    def _refuse(self, problem: ProblemError) -> None:
        """End the request that arrives with a problem, and the connection after the answers to earlier requests."""
        if self._refusal is not None or self.transport.is_closing():
            return
        problem.headers["Connection"] = "close"
        self._refusal = problem
        self._stop_timer()
        if self._in_headers:
            if self.is_answered:
                self._end_with(problem)
        elif self.is_answered:
            self.transport.close()
        else:
            if self._incoming is None:
                self._incoming = Incoming(self.cycle)
            self._incoming.fail(problem)

    @property
    def is_answered(self) -> bool:
        """Whether all requests whose head is complete are answered."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def _end_with(self, problem: ProblemError) -> None:
        """Answer with a problem and close the connection. The log has the parts of method and path that arrived."""
        if self.transport.is_closing():
            return
        path = self.url.partition(b"?")[0].decode("latin-1")
        exchange = Exchange(
            self.parser.get_method().decode("ascii") if path else "", path, self.services.callers.constant(self.peer)
        )
        headers, body = exchange.refused(problem)
        head = lines(exchange.answered(problem.status, headers))
        self.transport.write(b"".join((self.beginning(problem.status), head, b"\r\n", body)))
        self.transport.close()
        services = self.services
        exchange.report(services.metrics, services.access, services.tracing)

    def beginning(self, status: int) -> bytes:
        """Return the status line and the headers that the server adds to every response."""
        return _status_line(status) + lines(self.server_state.default_headers)


def _with_path(url: bytes) -> bytes:
    """Return a request target that has a path: "/" if it has none. Source: RFC 9112, sections 3.2.2 and 3.2.3."""
    try:
        parts = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError:  # the host and port of CONNECT
        return b"/"
    return url if parts.path else b"/" + (b"?" + parts.query if parts.query else b"")


_FRAMING = {b"content-length", b"transfer-encoding"}


class _AfterHead:
    """Callbacks of a parser that begins with a head that was read before. The protocol gets what follows it."""

    def __init__(self, protocol: BoundedProtocol) -> None:
        self._protocol, self._is_after = protocol, False
        self.on_body = protocol.on_body

    def on_message_begin(self) -> None:
        if self._is_after:
            self._protocol.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if self._is_after:
            self._protocol.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_after:
            self._protocol.on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._is_after:
            self._protocol.on_headers_complete()

    def on_message_complete(self) -> None:
        self._is_after = True
        self._protocol.on_message_complete()


def _parser(callbacks: Any) -> httptools.HttpRequestParser:
    parser = httptools.HttpRequestParser(callbacks)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


def _problem(error: httptools.HttpParserError) -> ProblemError:
    """Return the problem for an error of the parser."""
    reason = str(error).strip().rstrip(".")
    return MalformedHttp(f"The bytes that arrived are not an HTTP/1.1 request{reason and ': '}{reason}.")


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
