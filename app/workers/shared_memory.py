"""Memory that the server and its workers see alike: large bodies are received into it, and replies are written there.

The server lends a segment for each large call, `app.http.protocol` receives the body at its begin, a worker writes the
reply behind that, and it is sent from where it stands. Pages that were written to once stay with a segment, so that the
next call needs no new ones. A segment belongs to one call, until the last view of it is gone.

Where the system has no such memory (it has on Linux), nothing is lent, and all bytes go through sockets.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from contextlib import suppress
from itertools import count
from typing import Any

import numpy as np

LARGE = 2**18
"""Bytes of a body from which on it is received into a segment."""

KEPT = 2**28
"""Bytes of segments, at most, that stay when no call has them."""

_REPLY = 2**29
"""Bytes of a segment for a reply, at most. Only those that are written to take memory."""

Piece = bytes | memoryview


class Segment:
    """One piece of memory. `used` are the bytes of it, from its begin, that were written to. Raises OSError."""

    def __init__(self, number: int, size: int) -> None:
        self.number = number
        self.descriptor = os.memfd_create("gradd")
        try:
            os.ftruncate(self.descriptor, size)
            self.mapping = mmap.mmap(self.descriptor, size)
        except (OSError, ValueError):
            os.close(self.descriptor)
            raise
        self.used = 0

    def close(self) -> None:
        """Give the memory back, whoever still has it mapped."""
        os.ftruncate(self.descriptor, 0)
        os.close(self.descriptor)


class Lease:
    """A segment while it is one call's. A body of `size` bytes stands at its begin."""

    def __init__(
        self, segment: Segment, size: int, living: AbstractSet[int], back: Callable[[Segment, list[None]], None]
    ) -> None:
        self.size = size
        self._segment, self._living = segment, living
        self._spoiled: list[None] = []
        owner = np.frombuffer(segment.mapping, np.uint8)
        # The array lives as long as a view of it does, those that a transport sends from among them.
        weakref.finalize(owner, back, segment, self._spoiled).atexit = False
        self._whole = owner.data
        self.body = self._whole[:size]

    def told(self, known: set[int]) -> tuple[dict[str, Any], list[int]]:
        """Return the description of the segment for a worker that has mapped the `known` segments, and the descriptors
        that it needs.

        The description names the known segments that no longer exist. `known` becomes the segments that the worker
        has mapped afterwards.
        """
        segment = self._segment
        closed = known - self._living
        descriptors = [] if segment.number in known else [segment.descriptor]
        known -= closed
        known.add(segment.number)
        return {"number": segment.number, "size": self.size, "closed": list(closed)}, descriptors

    def reply(self, begin: int, end: int) -> memoryview:
        """Return the reply that a worker wrote to this part of the segment."""
        self._segment.used = max(self._segment.used, end)
        return self._whole[begin:end]

    def spoil(self) -> None:
        """Say that somebody may write to the segment who should not: it is not lent again."""
        self._spoiled.append(None)

    def end(self) -> None:
        """Let go of the body. The segment is free once no reply is to be sent from it."""
        self.body.release()
        self._whole.release()


class Segments:
    """The segments of a server, for bodies of up to `largest` bytes."""

    def __init__(self, largest: int) -> None:
        self._size = largest + _REPLY
        self._largest = largest
        self._numbers = count()
        self._living: set[int] = set()
        self._free: list[Segment] = []
        self._none = not hasattr(os, "memfd_create")

    def lend(self, size: int) -> Lease | None:
        """Return a segment for a body of this size, the one used last if there is any; None where there can be none."""
        if size > self._largest or self._none:
            return None
        segment = self._free.pop() if self._free else self._made()
        if segment is None:
            return None
        segment.used = max(segment.used, size)
        return Lease(segment, size, self._living, self._back)

    def close(self) -> None:
        """Give up those that nobody has. The others follow when they come back."""
        self._none = True
        while self._free:
            self._end(self._free.pop())

    def _made(self) -> Segment | None:
        with suppress(OSError, ValueError):
            segment = Segment(next(self._numbers), self._size)
            self._living.add(segment.number)
            return segment
        return None

    def _back(self, segment: Segment, spoiled: list[None]) -> None:
        """Take a segment back. Any thread may drop its last view."""
        kept = segment.used + sum(free.used for free in self._free)
        if spoiled or self._none or kept > KEPT:
            self._end(segment)
        else:
            self._free.append(segment)

    def _end(self, segment: Segment) -> None:
        self._living.discard(segment.number)
        segment.close()


class SharedMapping:
    """A segment as the worker has it: the body at its begin, and behind that room for the reply.

    `stands` is the begin and the end of the reply in the segment, None where it is not there.
    """

    def __init__(self, whole: memoryview, size: int) -> None:
        self._whole = whole
        self.body = whole[:size]
        self._begin = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        self.stands: tuple[int, int] | None = None

    def put(self, pieces: Iterable[Piece]) -> bytes | memoryview:
        """Put pieces behind each other, and return the whole. What finds no room here is joined elsewhere."""
        end = self._begin
        coming = iter(pieces)
        for piece in coming:
            if end + len(piece) > len(self._whole):
                return b"".join((self._whole[self._begin : end], bytes(piece), *map(bytes, coming)))
            self._whole[end : end + len(piece)] = piece
            end += len(piece)
        self.stands = self._begin, end
        return self._whole[self._begin : end]


class Mappings:
    """The segments that a worker has been lent, by number, and their descriptors."""

    def __init__(self) -> None:
        self._mapped: dict[int, tuple[mmap.mmap, int]] = {}

    def sheet(self, told: dict[str, Any], descriptors: Iterable[int]) -> SharedMapping:
        """Return what a loan tells of, whose descriptor comes along where it was not known yet."""
        number = told["number"]
        for closed in told["closed"]:
            if closed in self._mapped:
                os.close(self._mapped.pop(closed)[1])
        for descriptor in descriptors:
            self._mapped[number] = mmap.mmap(descriptor, 0), descriptor
        return SharedMapping(memoryview(self._mapped[number][0]), told["size"])
