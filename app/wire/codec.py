"""How a media type's bodies are read and its replies are written: one entry for each, which the routes choose among."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from app.wire import encode
from app.wire.document import Document, Sections


@dataclass(frozen=True, slots=True)
class Codec:
    """One media type.

    `read` takes a body apart: its bytes, the objects of it that hold tensors, and the members that change nothing about
    what is computed. `write` returns the bytes of a reply's members.
    """

    media_type: str
    read: Callable[[bytes, Sections, frozenset[str]], Document]
    write: Callable[[Mapping[str, Any]], bytes]


JSON = Codec("application/json", Document, encode.reply)
