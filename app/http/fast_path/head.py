"""Parser of a complete request head: the request line and the headers.

`app.http.fast_path.shortcut` calls it. It accepts HTTP/1.1 requests with a Content-Length on a connection that stays
open. It returns None for all other heads, including invalid ones, and the connection's own parser handles them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import httptools

VARYING = (b"forwarded", b"traceparent", b"tracestate", b"x-forwarded-for", b"x-request-id")
"""Headers with other values in each call of a client."""

_VARYING_LINE = re.compile(
    rb"\r\n(" + b"|".join(VARYING) + rb"):[ \t]*([\t\x20-\x7e\x80-\xff]*)(?=\r\n[^ \t])", re.IGNORECASE
)
"""A line of such a header, without the control characters that the parser refuses and without a continuation line."""

END = b"\r\n\r\n"
"""The end of a head."""


@dataclass(frozen=True, slots=True)
class Head:
    """The method, the path, the headers by lower-case name, and the length of the body in bytes, at least one."""

    method: str
    path: str
    headers: Mapping[str, str]
    length: int


def split(text: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Return a head without the lines of `VARYING`, and these headers by lower-case name."""
    pieces = _VARYING_LINE.split(text)
    names, values = pieces[1::3], pieces[2::3]
    return b"".join(pieces[::3]), [(name.lower(), value.rstrip()) for name, value in zip(names, values, strict=True)]


def read(text: bytes) -> Head | None:
    """Return the head in the text, or None. The text must be exactly one head, without the headers of `VARYING`."""
    found = _Found()
    parser = httptools.HttpRequestParser(found)
    try:
        parser.feed_data(text)
        path = httptools.parse_url(found.url).path
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    headers = dict(found.headers)
    if not found.is_complete or not path or b"%" in path or len(headers) < len(found.headers):
        return None
    if (
        "host" not in headers
        or parser.get_http_version() != "1.1"
        or not parser.should_keep_alive()
        or headers.keys() & _UNDECIDED
    ):
        return None
    length = headers.get("content-length", "")
    return (
        Head(parser.get_method().decode("ascii"), path.decode("ascii"), headers, int(length))
        if length.isdecimal()
        else None
    )


_UNDECIDED = {"expect", "transfer-encoding", "upgrade", *(name.decode("ascii") for name in VARYING)}
"""Headers that only the connection's own parser handles. `split` leaves a header of `VARYING` only if it is unusual."""


class _Found:
    """Callbacks of the parser. `is_complete`: the text is one head, and a body with a declared length follows."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[str, str]] = []
        self.is_complete = False
        self._messages = 0

    def on_message_begin(self) -> None:
        self._messages += 1

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self.is_complete = self._messages == 1

    def on_body(self, body: bytes) -> None:  # noqa: ARG002
        self.is_complete = False

    def on_message_complete(self) -> None:
        self.is_complete = False
