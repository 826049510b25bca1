"""Content codings, gzip and zstd: bodies are inflated within a bound, replies are compressed.

`app.http.compression` calls them, off the event loop where there is much to do: both libraries give up the
interpreter's lock while they work. Sources: RFC 1952 (gzip), RFC 8878 and 9659 (zstd).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import zstandard

from app.errors import BadBody, BodyTooLarge
from engine import Fault

CHUNK = 2**18
"""Bytes that are inflated at a time: what may be held beyond the bound."""


_STEP = 2**20
"""Bytes that are compressed at a time: 25 ms at most."""


class Compressor(Protocol):
    """A stream that is compressed, as zlib and zstandard have it."""

    def compress(self, data: bytes | memoryview, /) -> bytes:
        """Take the next bytes of the stream, and return compressed bytes, if there are some already."""
        ...

    def flush(self) -> bytes:
        """Return the end of the compressed stream."""
        ...


@dataclass(frozen=True, slots=True)
class Coding:
    """One content coding: its name, the inflated pieces of a body, a new compressor for a reply of a size."""

    name: str
    pieces: Callable[[bytes], Iterator[bytes]]
    compressor: Callable[[int], Compressor]

    def compress(self, body: bytes | memoryview) -> bytes:
        """Return the compressed body."""
        return b"".join(self.compressed(body))

    def compressed(self, body: bytes | memoryview) -> Iterator[bytes]:
        """Yield the compressed body, a piece for each megabyte."""
        compressor = self.compressor(len(body))
        for begin in range(0, len(body), _STEP):
            yield compressor.compress(body[begin : begin + _STEP])
        yield compressor.flush()

    def inflate(self, body: bytes, most: int) -> bytes:
        """Return the inflated body. Raises BadBody where it is malformed, BodyTooLarge beyond `most` bytes."""
        inflated: list[bytes] = []
        size = 0
        try:
            for piece in self.pieces(body):
                size += len(piece)
                if size > most:
                    raise BodyTooLarge(f"The body has more than {most} bytes once it is inflated.")
                inflated.append(piece)
        except (EOFError, zlib.error, zstandard.ZstdError) as error:
            detail = f"the body is not {self.name}: {str(error) or 'it is empty or cut off'}"
            hint = f"Send one complete {self.name} stream, or leave out Content-Encoding."
            raise BadBody(Fault((), "malformed_encoding", detail, hint)) from None
        return b"".join(inflated)


def _gunzipped(body: bytes) -> Iterator[bytes]:
    """Yield the inflated pieces of a gzip body, one member after the other. Raises EOFError, zlib.error."""
    position = members = 0
    while position < len(body) or not members:
        members += 1
        if members > _MAX_MEMBERS:
            raise zlib.error(f"it has more than {_MAX_MEMBERS} members")
        member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        while not member.eof:
            given = member.unconsumed_tail or body[position : position + CHUNK]
            if not member.unconsumed_tail:
                position += len(given)
            piece = member.decompress(given, CHUNK)
            if not given and not piece and not member.eof:
                raise EOFError
            yield piece
        position -= len(member.unused_data)


_MAX_MEMBERS = 10_000
"""Empty members have 20 bytes; a body of nothing else would keep a thread busy for seconds."""


def _unpacked(body: bytes) -> Iterator[bytes]:
    """Yield the inflated pieces of the frames of a zstd body. Raises EOFError, ZstdError.

    The library's reader says nothing where a frame is cut off. So one more frame is put behind the body: its content
    comes out last, unless something before it had no end.
    """
    reader = zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(body + _END, read_across_frames=True)
    held = b""
    while piece := reader.read(CHUNK):
        held += piece
        yield held[: -len(_MARK)]
        held = held[-len(_MARK) :]
    if held != _MARK or not body:
        raise EOFError


_WINDOW = 2**23
"""The largest window that a body may ask for. Source: RFC 9659, section 3."""
_MARK = b"the body ends here"
_END = zstandard.ZstdCompressor(write_checksum=True).compress(_MARK)

# The fastest levels. For 1 M float64 as JSON, 20 MB, higher ones took 2 to 7 times as long and saved nothing.
_GZIP = Coding("gzip", _gunzipped, lambda _: zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS | 16))
_ZSTD = Coding("zstd", _unpacked, lambda size: zstandard.ZstdCompressor(level=1).compressobj(size))

CODINGS: Mapping[str, Coding] = {coding.name: coding for coding in (_ZSTD, _GZIP)}
"""The codings by name; the first is preferred."""
