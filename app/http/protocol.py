"""The HTTP/1.1 protocol: uvicorn's httptools protocol with limits, and problem documents for all its errors.

httptools parses in C; h11 parses in Python. Neither httptools nor uvicorn limits the size of a request's headers, of
trailers and chunk extensions, the time until they arrive, or the time until a reply is read. Without limits, a few slow
connections could exhaust the server's memory and sockets.
`app.http.server` and `app.http.fast_path.connection` use this module.
"""

from __future__ import annotations

import asyncio
from functools import cache
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.errors import Busy, HeadersTooLarge, MalformedHttp, ProblemError, SlowHeaders
from app.http import framing
from app.http.exchange import Exchange, lines
from app.http.incoming import Incoming
from app.http.large_body import Receiver, promised
from app.http.services import Services
from app.http.unread import ReplyWatch


class BoundedProtocol(HttpToolsProtocol):
    """One connection. `bounded_protocol` makes subclasses with the limits of an application."""

    services: Services
    max_header_bytes: int
    header_timeout_s: float
    write_timeout_s: float

    peer = ""
    """The address of the other end of the connection."""
    url = b""
    """The request target, as far as it has arrived."""
    _outside = 0
    """Bytes received outside the body's data: headers, chunk sizes and extensions, trailers. Data of a body allows
    `_FRAMING_BYTES` a byte, for chunks of one byte."""
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
        least = int(self.services.settings.min_body_rate * self.write_timeout_s)
        self._watch = ReplyWatch(transport, self.write_timeout_s, least)
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers."""
        self._stop_timer()
        self._watch.stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count the bytes outside the body. Each later request on the connection starts its own timer."""
        if self._refusal is not None:
            return
        self._unset_keepalive_if_required()
        expecting = self._in_headers
        if expecting and self._timer is None:
            self._expect_headers()
        room = self.max_header_bytes - self._outside
        if expecting and len(data) > room:
            self._outside += room
            if not self._parse(data[:room]):
                return
            data = data[room:]
            if self._in_headers and self._outside == self.max_header_bytes:
                self._refuse_too_large()
                return
        self._outside += len(data)
        self._parse(data)
        if self._outside > self.max_header_bytes:
            self._refuse_too_large()
        elif expecting and not self._in_headers and self._incoming is None:
            self._receive_body()

    def _refuse_too_large(self) -> None:
        part = "line and headers" if self._in_headers else "trailers or chunk extensions"
        self._refuse(HeadersTooLarge(f"The request's {part} have more than {self.max_header_bytes} bytes."))

    def _parse(self, data: bytes) -> bool:
        """Pass bytes to the parser. Return False if they are refused.

        The parser stops after the head of a request that asks for another protocol.
        """
        left = memoryview(data)
        while left:
            try:
                self.parser.feed_data(left)
            except httptools.HttpParserUpgrade as upgrade:
                left = left[upgrade.args[0] :]
                self._ignore_upgrade()
            except httptools.HttpParserError as error:
                self._refuse(_problem(error))
                return False
            else:
                return True
        return True

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

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header. Trailers are discarded. Source: RFC 9110, section 6.5.1."""
        if self._in_headers:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Check the head, and stop the timer until the body is complete. Raises ProblemError."""
        framing.check(self.parser.get_http_version(), self.headers)
        if not self.url.startswith(b"/"):
            self.url = _with_path(self.url)
        super().on_headers_complete()
        self._in_headers = False
        self._stop_timer()

    def on_body(self, body: bytes) -> None:
        """Add data of the body."""
        self._outside = max(0, self._outside - (1 + _FRAMING_BYTES) * len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Start counting for the next request, unless the parser has stopped before the body."""
        if self.parser.should_upgrade():
            return
        self.end_message()

    def end_message(self) -> None:
        """Prepare for the next request."""
        self._in_headers = True
        self._outside = 0
        self.url = b""
        self.headers = []
        self._incoming = None
        self._stop_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """After an answer before the body's end, apply the time limit of headers to the rest of the body."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._watch.start()
        if not self.is_answered:
            return
        if not self._in_headers:
            if self._incoming is not None:
                self._incoming.drop()
            self._timer = self.loop.call_later(self.header_timeout_s, self.transport.close)
        if self._refusal is not None:
            self._end_with(self._refusal)

    def pause_writing(self) -> None:
        """Limit the time in which the client reads nothing."""
        super().pause_writing()
        self._watch.start()

    def resume_writing(self) -> None:
        """Continue to write."""
        super().resume_writing()
        self._watch.stop()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection."""
        super().timeout_keep_alive_handler()
        self._watch.start()

    def shutdown(self) -> None:
        """Close the connection after the answers to complete requests. A body that arrives has `_STOP_S`."""
        super().shutdown()
        if not self._in_headers and not self.is_answered:
            self._stop_timer()
            self._timer = self.loop.call_later(_STOP_S, self._refuse_at_stop)
        self._watch.start()

    def _refuse_at_stop(self) -> None:
        retry_after_s = self.services.settings.retry_after_s
        self._refuse(Busy("The server stops, and the body is not complete.", retry_after_s))

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
        method = self.parser.get_method().decode("ascii") if path else ""
        exchange = Exchange(method, path, self.services.callers.of(self.peer, self.headers or ()))
        headers, body = exchange.refused(problem)
        head = lines(exchange.answered(problem.status, headers))
        self.transport.write(b"".join((self.beginning(problem.status), head, b"\r\n", body)))
        self.transport.close()
        self._watch.start()
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

_STOP_S = 2.0
"""Seconds after a stop signal in which a body may become complete. Those that clients have sent are read by then."""

_FRAMING_BYTES = 16
"""Bytes of chunk sizes and extensions that a client may send for each byte of a body."""


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
    if isinstance(error.__context__, ProblemError):
        return error.__context__
    return MalformedHttp(f"The bytes that arrived are not an HTTP/1.1 request: {error}.")


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
    Bounded.write_timeout_s = services.settings.write_timeout_ms / 1000
    return Bounded
