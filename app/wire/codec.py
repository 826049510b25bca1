"""The codecs: one for each media type, with the functions that decode its request bodies and encode its replies.

The routes choose a codec from the request's headers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from app.wire.document import Document, Sections
from app.wire.json import body as json_body
from app.wire.json import reply as json_reply
from app.wire.msgpack import body as msgpack_body
from app.wire.msgpack import reply as msgpack_reply
from app.wire.reply import CachedText, Measure, Members, Piece, Results, Size

CACHED_S = 0.2e-9
"""Seconds to copy a byte of text that is cached with a plan."""


@dataclass(frozen=True, slots=True)
class Codec:
    """The functions that decode request bodies and encode replies in a media type."""

    media_type: str
    measures: Mapping[str, Measure]
    """Functions that return the size of a tensor's data, by encoding ("json", "base64")."""
    encoded: Callable[[Any], bytes]
    """Encodes plain data (no tensors)."""
    openers: bytes
    """The first bytes of all lists and objects."""
    read_s: float
    """Seconds to decode a byte of a typical request."""
    read: Callable[[bytes | memoryview, Sections, frozenset[str]], Document]
    """Decodes a body, with the objects that contain tensors and the members that do not affect the plan."""
    early_timeout: Callable[[bytes | memoryview], Any]
    """Returns the member `timeout_ms` of a body without decoding the rest, or None."""
    pieces: Callable[[Members, str], Iterable[Piece]]
    """Encodes a reply, with the encoding of tensors' data. Returns the pieces of the reply in order."""
    aliases: frozenset[str] = frozenset()
    """Other names of the media type."""

    def size(self, results: Results, cached: Iterable[CachedText], encoding: str) -> Size:
        """Return the size of a reply that consists of the tensors `results` and the texts `cached`."""
        tensors = results.size(self.measures[encoding])
        text = sum([len(data.written(self.encoded)) for data in cached])
        return Size(tensors.bytes + text, tensors.seconds + text * CACHED_S)

    def write(self, members: Members, encoding: str) -> bytes:
        """Return the bytes of a reply."""
        return b"".join(self.pieces(members, encoding))


JSON = Codec(
    "application/json",
    json_reply.MEASURES,
    json_reply.encoded,
    b"[{",
    4e-9,
    json_body.read,
    json_body.early_timeout,
    json_reply.pieces,
)
MSGPACK = Codec(
    "application/msgpack",
    msgpack_reply.MEASURES,
    msgpack_reply.encoded,
    # fixmap, fixarray, array 16 and 32, map 16 and 32
    bytes([*range(0x80, 0xA0), *range(0xDC, 0xE0)]),
    8e-9,  # raw bytes take less; one number for each byte takes 300 ns
    msgpack_body.read,
    msgpack_body.early_timeout,
    msgpack_reply.pieces,
    frozenset({"application/x-msgpack", "application/vnd.msgpack"}),
)

CODECS: Mapping[str, Codec] = {codec.media_type: codec for codec in (JSON, MSGPACK)}
"""The codecs by media type. The first is the default if a request names no media type."""
