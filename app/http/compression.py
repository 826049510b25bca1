"""Middleware that decompresses request bodies and compresses replies for clients that accept a content coding.

`Compression` is a plain ASGI class and the innermost middleware of `app.main`. The routes inside see uncompressed
bodies. The fast path uses `accepted` and `Accepted`. Contract, section 7.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import NotAcceptable, TimedOut, UnsupportedMedia
from app.http.accept import weights
from app.http.content_coding import CODINGS, Coding
from app.http.in_flight import RESERVATION, Reservation

MIN_SIZE = 14_600
"""Bytes of a reply below which compressing saves no round trip. Source: RFC 6928, ten segments of 1,460 bytes."""

BRIEF = 2**15
"""Bytes of the largest body compressed on the event loop, in 0.8 ms at most. A thread takes 0.1 ms to start."""

_SHARE = 0.25
"""Replies are compressed if their compressed size is less than this share of their size.

Standard normal numbers, 1 M float64, level 1: nanoseconds a byte to compress and to decompress, and the share.

| reply | gzip | zstd |
|---|---|---|
| JSON | 9.2 + 4.2, 0.49 | 2.5 + 0.8, 0.45 |
| base64 | 23.2 + 5.4, 0.77 | 1.0 + 1.0, 0.74 |
| MessagePack | 23.7 + 5.1, 0.96 | 1.1 + 0.8, 0.96 |
| equal numbers in JSON | 1.2 + 0.3, 0.00 | 0.1 + 0.1, 0.00 |
| the API's description | 2.9 + 1.2, 0.11 | 0.8 + 0.4, 0.09 |

A network of 1 Gbit/s takes 8 ns a byte, the loopback 0.5. On both, compression makes the replies of the first three
rows slower, except for JSON with zstd at 1 Gbit/s.
"""

_LONGEST = {"gzip": 2**18}
"""Bytes of the longest compressed reply by coding. gzip takes 1 ms for text that shrinks to a quarter."""

_SAMPLE = 2**13
"""Bytes of each of the three samples, from the beginning, the middle and the end, that estimate the share.

zstd takes 70 us for three JSON samples, gzip 220 us.
"""

_ALIASES = {"x-gzip": "gzip"}
"""Source: RFC 9110, section 8.4.1.3."""

_READ = {b"accept-encoding", b"content-encoding"}


class Compression:
    """Decompresses bodies up to `most` bytes, for `timeout_s` at most, and compresses replies."""

    def __init__(self, app: ASGIApp, most: int, timeout_s: float) -> None:
        self.app, self.most, self.timeout_s = app, most, timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the inner application. Raises NotAcceptable, UnsupportedMedia.

        Reading the body raises BadBody, BodyTooLarge, TimedOut. Compressing the reply raises TimedOut.
        """
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"] if name in _READ}
        preferred = accepted(headers.get(b"accept-encoding", ""))
        coding = _sent(headers.get(b"content-encoding", ""))
        if coding is not None:
            _remove_coding(scope)
            receive = self._inflated(coding, receive, scope.get(RESERVATION))
        await self.app(scope, receive, _Reply(send, preferred, scope).send)

    def _inflated(self, coding: Coding, receive: Receive, reservation: Reservation | None) -> Receive:
        """Return a `receive` that returns the decompressed body as one message, then the later messages."""
        complete = False
        count = reservation.add if reservation is not None else None

        async def inflated() -> Message:
            nonlocal complete
            if complete:
                return await receive()
            parts: list[bytes] = []
            while not complete:
                message = await receive()
                if message["type"] != "http.request":
                    return message
                parts.append(message.get("body", b""))
                complete = not message.get("more_body", False)
            body = b"".join(parts)
            check = partial(_check_inflating, time.monotonic() + self.timeout_s)
            inflate = partial(coding.inflate, body, self.most, count, check)
            return {"type": "http.request", "body": await asyncio.to_thread(inflate)}

        return inflated


def _check_inflating(deadline: float) -> None:
    """Raise TimedOut after the deadline."""
    if time.monotonic() > deadline:
        raise TimedOut("The body was not decompressed in time.")


def _sent(header: str) -> Coding | None:
    """Return the content coding of a body, or None. Raises UnsupportedMedia."""
    name = header.strip().lower()
    if name in {"", "identity"}:
        return None
    coding = CODINGS.get(_ALIASES.get(name, name))
    if coding is None:
        known = ", ".join(CODINGS)
        detail = f"`Content-Encoding: {header[:200]}` is not read here; bodies may have one of {known}."
        raise UnsupportedMedia(detail, headers={"Accept-Encoding": known})
    return coding


def _remove_coding(scope: Scope) -> None:
    coded = {b"content-encoding", b"content-length"}
    scope["headers"] = [header for header in scope["headers"] if header[0] not in coded]


@dataclass(frozen=True, slots=True)
class Accepted:
    """The client's preferred content coding, or None. `insists`: the client refuses uncompressed replies."""

    coding: Coding | None
    insists: bool = False

    def is_worth(self, body: bytes | memoryview) -> bool:
        """Whether to compress a reply: compression makes it faster, or the client insists."""
        if self.coding is None or not body:
            return False
        return self.insists or (
            MIN_SIZE <= len(body) <= _LONGEST.get(self.coding.name, len(body)) and _share(body) < _SHARE
        )


def _share(body: bytes | memoryview) -> float:
    """Return the compressed size of samples of a body, as a share of their size. Uses zstd."""
    middle = len(body) // 2
    sample = b"".join((body[:_SAMPLE], body[middle : middle + _SAMPLE], body[-_SAMPLE:]))
    return len(CODINGS["zstd"].compress(sample)) / len(sample)


@lru_cache(256)
def accepted(header: str) -> Accepted:
    """Return the content coding for an Accept-Encoding header. Raises NotAcceptable.

    Source: RFC 9110, section 12.5.3.
    """
    given = weights(header)
    given.update({name: given[alias] for alias, name in _ALIASES.items() if alias in given and name not in given})
    liked = {name: given.get(name, given.get("*", 0.0)) for name in CODINGS}
    plain = given.get("identity", given.get("*", _LEAST))
    best = max(liked, key=liked.__getitem__)
    if liked[best] > 0 and liked[best] >= given.get("identity", 0.0):
        return Accepted(CODINGS[best], plain <= 0)
    if plain > 0:
        return Accepted(None)
    detail = f"This resource comes as it is or as {' or '.join(CODINGS)}, which `Accept-Encoding: {header}` leaves out."
    raise NotAcceptable(detail[:400], hint="Accept `identity`, or leave Accept-Encoding out.")


_LEAST = 0.001
"""The weight of an uncompressed reply if the header does not list it."""


def vary(headers: list[tuple[bytes, bytes]]) -> None:
    """Add Accept-Encoding to the Vary header of a reply."""
    for index, (name, value) in enumerate(headers):
        if name == b"vary":
            headers[index] = (name, value + b", Accept-Encoding")
            return
    headers.append((b"vary", b"Accept-Encoding"))


def relabel(headers: MutableHeaders, coding: Coding, size: int, seconds: float) -> None:
    """Set the headers of a compressed reply: its coding, its `size` in bytes, the `seconds` spent, a weak ETag."""
    headers["Content-Encoding"] = coding.name
    headers["Content-Length"] = str(size)
    headers.append("Server-Timing", timing(seconds))
    if "etag" in headers and not headers["etag"].startswith("W/"):
        headers["ETag"] = f"W/{headers['etag']}"


def timing(seconds: float) -> str:
    """Return the compression time for the Server-Timing header."""
    return f"compress;dur={seconds * 1000:.3f}"


_PIECE = 2**20
"""Bytes of a body sent to the connection at a time. The connection copies bytes that the socket does not take yet."""


def _pieces(message: Message) -> Iterator[Message]:
    """Yield the body as one message, or as several if it is large."""
    body = message.get("body", b"")
    for begin in range(0, len(body) - _PIECE, _PIECE):
        yield {**message, "body": body[begin : begin + _PIECE], "more_body": True}
    yield {**message, "body": body[(len(body) - 1) // _PIECE * _PIECE :]} if len(body) > _PIECE else message


DEADLINE = "gradd.deadline"
"""Key of a request's scope: the deadline of compression, as a time of `time.monotonic()`."""


class _Reply:
    """The `send` of one reply. The request's `scope` may have a deadline."""

    def __init__(self, send: Send, preferred: Accepted, scope: Scope) -> None:
        self._send, self._preferred, self._scope = send, preferred, scope
        self._start: Message | None = None

    async def send(self, message: Message) -> None:
        """Send a message. The headers are sent with the body, because they depend on it. Raises TimedOut."""
        if message["type"] == "http.response.start":
            vary(message["headers"])
            self._start = message
            return
        if self._start is not None:
            start, self._start = self._start, None
            message = await self._compressed(start, message)
            await self._send(start)
        for piece in _pieces(message):
            await self._send(piece)

    async def _compressed(self, start: Message, message: Message) -> Message:
        """Return the body's message, compressed if worthwhile, and set the headers. Raises TimedOut."""
        headers = MutableHeaders(scope=start)
        body, coding = message.get("body", b""), self._preferred.coding
        if coding is None or message.get("more_body") or "content-encoding" in headers:
            return message
        if not self._preferred.is_worth(body):
            return message
        began = time.perf_counter()
        if len(body) <= BRIEF:
            body = coding.compress(body)
        else:
            body = await asyncio.to_thread(_compressed_by, self._scope.get(DEADLINE), coding, body)
        relabel(headers, coding, len(body), time.perf_counter() - began)
        return {**message, "body": body}


def _compressed_by(deadline: float | None, coding: Coding, body: bytes | memoryview) -> bytes:
    """Return the compressed body. Raises TimedOut after the deadline."""
    pieces = []
    for piece in coding.compressed(body):
        if deadline is not None and time.monotonic() > deadline:
            raise TimedOut("The reply was not compressed in time; nothing of it is kept.")
        pieces.append(piece)
    return b"".join(pieces)
