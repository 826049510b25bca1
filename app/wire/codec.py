"""How a media type's bodies are read and its replies are written: one entry for each, which the routes choose among."""

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

KEPT_S = 0.2e-9
"""Seconds to copy a byte of the data that all replies of a plan share."""


@dataclass(frozen=True, slots=True)
class Codec:
    """One media type.

    `aliases` are other names that clients have for it. `read` takes a body apart: its bytes, the objects of it that
    hold tensors, and the members that change nothing about what is computed. `pieces` gives the bytes of a reply,
    piece by piece where it is long: its members, and how tensors' data are to be written where the media type leaves a
    choice. `measures` has the size of a tensor's data by that encoding, `kept` writes the data that all replies of a
    plan share. `openers` are the bytes that begin lists and objects, `read_s` the
    seconds that a byte of a plain request takes to be read.
    """

    media_type: str
    measures: Mapping[str, Measure]
    kept: Callable[[Any], bytes]
    openers: bytes
    read_s: float
    read: Callable[[bytes | memoryview, Sections, frozenset[str]], Document]
    pieces: Callable[[Members, str], Iterable[Piece]]
    aliases: frozenset[str] = frozenset()

    def size(self, results: Results, kept: Iterable[CachedText], encoding: str) -> Size:
        """Return the size of a reply of these tensors and this data."""
        tensors = results.size(self.measures[encoding])
        text = sum([len(data.written(self.kept)) for data in kept])
        return Size(tensors.bytes + text, tensors.seconds + text * KEPT_S)

    def write(self, members: Members, encoding: str) -> bytes:
        """Return the bytes of a reply."""
        return b"".join(self.pieces(members, encoding))


JSON = Codec("application/json", json_reply.MEASURES, json_reply.kept, b"[{", 4e-9, json_body.read, json_reply.pieces)
MSGPACK = Codec(
    "application/msgpack",
    msgpack_reply.MEASURES,
    msgpack_reply.kept,
    # fixmap, fixarray, array 16 and 32, map 16 and 32
    bytes([*range(0x80, 0xA0), *range(0xDC, 0xE0)]),
    8e-9,  # raw bytes take less; one number for each byte takes 300 ns
    msgpack_body.read,
    msgpack_reply.pieces,
    frozenset({"application/x-msgpack", "application/vnd.msgpack"}),
)

CODECS: Mapping[str, Codec] = {codec.media_type: codec for codec in (JSON, MSGPACK)}
"""The codecs by media type; the first is meant where a client names none."""
