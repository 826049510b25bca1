"""How a media type's bodies are read and its replies are written: one entry for each, which the routes choose among."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from app.wire import json_body, json_reply, msgpack_body, msgpack_reply
from app.wire.document import Document, Sections
from app.wire.reply import Members, Piece


@dataclass(frozen=True, slots=True)
class Codec:
    """One media type.

    `aliases` are other names that clients have for it. `read` takes a body apart: its bytes, the objects of it that
    hold tensors, and the members that change nothing about what is computed. `pieces` gives the bytes of a reply,
    piece by piece where it is long: its members, and how tensors' data are to be written where the media type leaves a
    choice.
    """

    media_type: str
    read: Callable[[bytes | memoryview, Sections, frozenset[str]], Document]
    pieces: Callable[[Members, str], Iterable[Piece]]
    aliases: frozenset[str] = frozenset()

    def write(self, members: Members, encoding: str) -> bytes:
        """Return the bytes of a reply."""
        return b"".join(self.pieces(members, encoding))


JSON = Codec("application/json", json_body.read, json_reply.pieces)
MSGPACK = Codec(
    "application/msgpack",
    msgpack_body.read,
    msgpack_reply.pieces,
    frozenset({"application/x-msgpack", "application/vnd.msgpack"}),
)

CODECS: Mapping[str, Codec] = {codec.media_type: codec for codec in (JSON, MSGPACK)}
"""The codecs by media type; the first is meant where a client names none."""
