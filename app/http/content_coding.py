"""Content codings, gzip and zstd: decompression of bodies up to a size limit, and compression of replies.

`app.http.compression` calls them. It uses a thread for large data, because both libraries release the GIL while they
work. Sources: RFC 1952 (gzip), RFC 8878 and 9659 (zstd).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import zstandard

from app.errors import BadBody, BodyTooLarge
from engine import Fault

CHUNK = 2**18
"""Bytes decompressed at a time: the most that memory holds beyond the size limit."""


_STEP = 2**20
"""Bytes compressed at a time: 25 ms at most."""


class Compressor(Protocol):
    """Interface of the compression objects of zlib and zstandard."""

    def compress(self, data: bytes | memoryview, /) -> bytes:
        """Add bytes to the stream, and return the compressed bytes available so far, possibly none."""
        ...

    def flush(self) -> bytes:
        """Return the end of the compressed stream."""
        ...


@dataclass(frozen=True, slots=True)
class Coding:
    """One content coding: its name, a decompressor of bodies in pieces, and a compressor for a given reply size."""

    name: str
    pieces: Callable[[bytes, Callable[[], None]], Iterator[bytes]]
    compressor: Callable[[int], Compressor]

    def compress(self, body: bytes | memoryview) -> bytes:
        """Return the compressed body."""
        return b"".join(self.compressed(body))

    def compressed(self, body: bytes | memoryview) -> Iterator[bytes]:
        """Yield the compressed body, one piece for each 2**20 input bytes, and the end of the stream."""
        compressor = self.compressor(len(body))
        for begin in range(0, len(body), _STEP):
            yield compressor.compress(body[begin : begin + _STEP])
        yield compressor.flush()

    def inflate(
        self,
        body: bytes,
        most: int,
        count: Callable[[int], None] | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> bytes:
        """Return the decompressed body.

        `count` is called with the size of each piece. `check` is called at least once for each `CHUNK` bytes of input
        and of output. Both may raise. Raises BadBody if the body is malformed, BodyTooLarge beyond `most` bytes.
        """
        inflated: list[bytes] = []
        size = 0
        try:
            for piece in self.pieces(body, check):
                check()
                size += len(piece)
                if size > most:
                    raise BodyTooLarge(f"The body has more than {most} bytes once it is inflated.")
                if count is not None:
                    count(len(piece))
                inflated.append(piece)
        except (EOFError, zlib.error, zstandard.ZstdError) as error:
            detail = f"the body is not {self.name}: {str(error) or 'it is empty or cut off'}"
            hint = f"Send one complete {self.name} stream, or leave out Content-Encoding."
            raise BadBody(Fault((), "malformed_encoding", detail, hint)) from None
        return b"".join(inflated)


def _gunzipped(body: bytes, check: Callable[[], None]) -> Iterator[bytes]:  # noqa: ARG001  # each piece is short
    """Yield the decompressed pieces of a gzip body, member by member. Raises EOFError, zlib.error."""
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
"""Limit on members. An empty member has 20 bytes, and a body of empty members could occupy a thread for seconds."""


class _Chunks:
    """The bytes of a body for a reader. `check` is called before each `CHUNK` of them, and may raise.

    A body of empty frames has no output, and the reader takes a second for 16 MB of them.
    """

    def __init__(self, body: bytes, check: Callable[[], None]) -> None:
        self._body, self._check = memoryview(body), check
        self._position = 0

    def read(self, size: int) -> memoryview:
        """Return the next bytes."""
        self._check()
        chunk = self._body[self._position : self._position + size]
        self._position += len(chunk)
        return chunk


def _unpacked(body: bytes, check: Callable[[], None]) -> Iterator[bytes]:
    """Yield the decompressed pieces of a zstd body. Raises EOFError, ZstdError.

    The library's reader does not report a truncated frame. Therefore a frame with a known content follows the body. If
    this content is not the end of the output, the body is truncated.
    """
    source: Any = _Chunks(body + _END, check)
    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    reader = decompressor.stream_reader(source, read_size=CHUNK, read_across_frames=True)
    held = b""
    while piece := reader.read(CHUNK):
        held += piece
        yield held[: -len(_MARK)]
        held = held[-len(_MARK) :]
    if held != _MARK or not body:
        raise EOFError


_WINDOW = 2**23
"""The largest window of a zstd body, in bytes. Source: RFC 9659, section 3."""
_MARK = b"the body ends here"
_END = zstandard.ZstdCompressor(write_checksum=True).compress(_MARK)

# The fastest levels. For 1 M float64 as JSON, 20 MB, higher levels took 2 to 7 times as long and saved no bytes.
_GZIP = Coding("gzip", _gunzipped, lambda _: zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS | 16))
_ZSTD = Coding("zstd", _unpacked, lambda size: zstandard.ZstdCompressor(level=1).compressobj(size))

CODINGS: Mapping[str, Coding] = {coding.name: coding for coding in (_ZSTD, _GZIP)}
"""The content codings by name. The first is preferred."""
