"""Memory that the server and its workers see alike: large bodies are received into it, and replies are written there.

The server lends a segment for each large call, `app.protocol` receives the body at its begin, a worker writes the reply
behind that, and it is sent from where it stands. Pages that were written to once stay with a segment, so that the next
call needs no new ones. A segment belongs to one call, until the last view of it is gone.

Where the system has no such memory (it has on Linux), nothing is lent, and all bytes go through sockets.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from contextlib import suppress
from itertools import accumulate, count
from typing import Any

import numpy as np

LARGE = 2**18
"""Bytes of a body from which on it is received into a segment."""

KEPT = 2**28
"""Bytes of segments, at most, that stay when no call has them."""

_REPLY = 2**29
"""Bytes of a segment for a reply, at most. Only those that are written to take memory."""

_SCRATCH = 2**27
"""Bytes at the end of a segment that a worker and its second hand each other things in."""

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


class Loan:
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
        """Return what a worker is told that has mapped the `known` segments, and the descriptors that it needs."""
        return _told(known, self._living, self._segment.number, self.size, self._segment.descriptor)

    def reply(self, begin: int, end: int, used: int) -> memoryview:
        """Return what a worker wrote to a part of the segment, who wrote to no more of it than `used` bytes."""
        self._segment.used = max(self._segment.used, used)
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
        self._size = largest + _REPLY + _SCRATCH
        self._largest = largest
        self._numbers = count()
        self._living: set[int] = set()
        self._free: list[Segment] = []
        self._none = not hasattr(os, "memfd_create")

    def lend(self, size: int) -> Loan | None:
        """Return a segment for a body of this size, the one used last if there is any; None where there can be none."""
        if size > self._largest or self._none:
            return None
        segment = self._free.pop() if self._free else self._made()
        if segment is None:
            return None
        segment.used = max(segment.used, size)
        return Loan(segment, size, self._living, self._back)

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


class Sheet:
    """A segment as the worker has it: the body at its begin, and behind that room for the reply.

    `stands` tells where the reply stands, if it has been put here, and how much of the segment was written to.
    """

    def __init__(self, whole: memoryview, size: int) -> None:
        self._whole = whole
        self.body = whole[:size]
        self._begin = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        self._scratch, self._scratched = len(whole) - _SCRATCH, 0
        self.stands: tuple[int, int, int] | None = None

    def put(self, pieces: Iterable[Piece]) -> bytes | memoryview:
        """Put pieces behind each other, and return the whole. What finds no room here is joined elsewhere."""
        end = self._begin
        coming = iter(pieces)
        for piece in coming:
            if end + len(piece) > self._scratch:
                return b"".join((self._whole[self._begin : end], bytes(piece), *map(bytes, coming)))
            self._whole[end : end + len(piece)] = piece
            end += len(piece)
        self.stands = self._begin, end, end + self._scratched
        return self._whole[self._begin : end]

    def scratch(self, *sizes: int) -> list[memoryview]:
        """Return parts of the scratch that follow each other, from its begin. Raises BufferError where room lacks."""
        ends = list(accumulate(sizes))
        self._scratched = max(self._scratched, ends[-1])
        if ends[-1] > len(self._whole) - self._scratch:
            raise BufferError
        return [
            self._whole[self._scratch + end - size : self._scratch + end] for size, end in zip(sizes, ends, strict=True)
        ]


class Mappings:
    """The segments that a worker has been lent, by number, and their descriptors."""

    def __init__(self) -> None:
        self._mapped: dict[int, tuple[mmap.mmap, int]] = {}

    def sheet(self, told: dict[str, Any], descriptors: Iterable[int]) -> Sheet:
        """Return what a loan tells of, whose descriptor comes along where it was not known yet."""
        number = told["number"]
        for closed in told["closed"]:
            if closed in self._mapped:
                os.close(self._mapped.pop(closed)[1])
        for descriptor in descriptors:
            self._mapped[number] = mmap.mmap(descriptor, 0), descriptor
        return Sheet(memoryview(self._mapped[number][0]), told["size"])

    def told(self, known: set[int], number: int, size: int) -> tuple[dict[str, Any], list[int]]:
        """Return what somebody is told of a segment who has mapped the `known` ones."""
        return _told(known, self._mapped.keys(), number, size, self._mapped[number][1])


def _told(
    known: set[int], living: AbstractSet[int], number: int, size: int, descriptor: int
) -> tuple[dict[str, Any], list[int]]:
    """Return what is told of a segment to who has mapped the `known` ones, and the descriptors that he lacks.

    Of those that he knows, the ones that live no more are named; he knows them no more, and this one from now on.
    """
    closed = known - living
    descriptors = [] if number in known else [descriptor]
    known -= closed
    known.add(number)
    return {"number": number, "size": size, "closed": list(closed)}, descriptors
