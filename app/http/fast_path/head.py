"""A request's head, its line and headers, read by itself where all of it has arrived.

The shortcut asks for it. Only a head that leaves nothing to decide is read: a request in HTTP/1.1 with a body
of a declared length, whose connection stays open. All others are None here, and the business of the connection's own
parser, which alone knows what is wrong with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import httptools

END = b"\r\n\r\n"
"""What ends a head."""


@dataclass(frozen=True, slots=True)
class Head:
    """The method, the path, the headers by name in small letters, and the bytes that the body has, one at least."""

    method: str
    path: str
    headers: Mapping[str, str]
    length: int


def read(text: bytes) -> Head | None:
    """Return the head that the text is, from its first byte to its last."""
    found = _Found()
    parser = httptools.HttpRequestParser(found)
    try:
        parser.feed_data(text)
        path = httptools.parse_url(found.url).path.decode("ascii")
    except (httptools.HttpParserError, httptools.HttpParserUpgrade, UnicodeDecodeError):
        return None
    headers = dict(found.headers)
    if not found.is_complete or "%" in path or len(headers) < len(found.headers):
        return None
    if parser.get_http_version() != "1.1" or not parser.should_keep_alive() or headers.keys() & _UNDECIDED:
        return None
    length = headers.get("content-length", "")
    return Head(parser.get_method().decode("ascii"), path, headers, int(length)) if length.isdecimal() else None


_UNDECIDED = {"expect", "transfer-encoding", "upgrade"}


class _Found:
    """What the parser calls. A body has not begun where the text is a head alone that says how long a body follows."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[str, str]] = []
        self.is_complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self.is_complete = True

    def on_body(self, body: bytes) -> None:  # noqa: ARG002
        self.is_complete = False

    def on_message_complete(self) -> None:
        self.is_complete = False
