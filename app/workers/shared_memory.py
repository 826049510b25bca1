"""Shared memory of the server and its workers, for large bodies and their replies.

Each large call acquires a segment of shared memory. `app.http.protocol` receives the body at its start, a worker writes
the reply after the body, and the server sends the reply from there. A segment keeps its pages, so the next call
allocates no pages. A segment belongs to one call until its last view is deleted.

Without `memfd_create` (it exists on Linux) there is no shared memory, and all bytes go through sockets.
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
"""Minimum bytes of a body that is received into shared memory."""

KEPT = 2**28
"""Maximum total bytes of the free segments that remain allocated for reuse."""

_REPLY = 2**29
"""Maximum bytes of a reply in a segment. Only pages that are written to take memory."""

Piece = bytes | memoryview


class Segment:
    """One block of shared memory. `used` is the number of bytes written, from its start. Raises OSError."""

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
        """Free the memory, also for processes that still map it."""
        os.ftruncate(self.descriptor, 0)
        os.close(self.descriptor)


class Lease:
    """The use of a segment by one call. The body, of `size` bytes, is at its start."""

    def __init__(
        self, segment: Segment, size: int, living: AbstractSet[int], back: Callable[[Segment, list[None]], None]
    ) -> None:
        self.size = size
        self._segment, self._living = segment, living
        self._spoiled: list[None] = []
        owner = np.frombuffer(segment.mapping, np.uint8)
        # The array lives as long as any view of it. A transport that sends holds views too.
        weakref.finalize(owner, back, segment, self._spoiled).atexit = False
        self._whole = owner.data
        self.body = self._whole[:size]

    def describe(self, known: set[int]) -> tuple[dict[str, Any], list[int]]:
        """Return the segment's description for a worker, and the descriptors that the worker needs.

        `known` has the numbers of the segments that the worker maps, and is updated. The description names the
        segments of `known` that no longer exist.
        """
        segment = self._segment
        closed = known - self._living
        descriptors = [] if segment.number in known else [segment.descriptor]
        known -= closed
        known.add(segment.number)
        return {"number": segment.number, "size": self.size, "closed": list(closed)}, descriptors

    def reply(self, begin: int, end: int) -> memoryview:
        """Return the reply that a worker wrote to bytes `begin` to `end` of the segment."""
        self._segment.used = max(self._segment.used, end)
        return self._whole[begin:end]

    def spoil(self) -> None:
        """Exclude the segment from reuse, because a worker may still write to it."""
        self._spoiled.append(None)

    def end(self) -> None:
        """Release the body. The segment is free once no reply is sent from it."""
        self.body.release()
        self._whole.release()


class Segments:
    """The shared memory segments of a server, for bodies of up to `largest` bytes."""

    def __init__(self, largest: int) -> None:
        self._size = largest + _REPLY
        self._largest = largest
        self._numbers = count()
        self._living: set[int] = set()
        self._free: list[Segment] = []
        self._none = not hasattr(os, "memfd_create")

    def acquire(self, size: int) -> Lease | None:
        """Acquire the last used segment, or a new one, for a body of `size` bytes. None if neither exists."""
        if size > self._largest or self._none:
            return None
        segment = self._free.pop() if self._free else self._created()
        if segment is None:
            return None
        segment.used = max(segment.used, size)
        return Lease(segment, size, self._living, self._release)

    def close(self) -> None:
        """Free the unused segments now, and the others when their leases end."""
        self._none = True
        while self._free:
            self._end(self._free.pop())

    def _created(self) -> Segment | None:
        with suppress(OSError, ValueError):
            segment = Segment(next(self._numbers), self._size)
            self._living.add(segment.number)
            return segment
        return None

    def _release(self, segment: Segment, spoiled: list[None]) -> None:
        """Keep or free a segment after its lease. Runs in the thread that deletes the last view."""
        kept = segment.used + sum(free.used for free in self._free)
        if spoiled or self._none or kept > KEPT:
            self._end(segment)
        else:
            self._free.append(segment)

    def _end(self, segment: Segment) -> None:
        self._living.discard(segment.number)
        segment.close()


class SharedMapping:
    """A segment mapped by a worker: the body at its start, and space for the reply after it.

    `reply_range` is the start and the end of the reply in the segment, None if the reply is elsewhere.
    """

    def __init__(self, whole: memoryview, size: int) -> None:
        self._whole = whole
        self.body = whole[:size]
        self._begin = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        self.reply_range: tuple[int, int] | None = None

    def put(self, pieces: Iterable[Piece]) -> bytes | memoryview:
        """Write the pieces one after the other; return the reply. A reply that does not fit is joined in new memory."""
        end = self._begin
        coming = iter(pieces)
        for piece in coming:
            if end + len(piece) > len(self._whole):
                return b"".join((self._whole[self._begin : end], bytes(piece), *map(bytes, coming)))
            self._whole[end : end + len(piece)] = piece
            end += len(piece)
        self.reply_range = self._begin, end
        return self._whole[self._begin : end]


class Mappings:
    """The shared memory segments that a worker maps, by number, with their file descriptors."""

    def __init__(self) -> None:
        self._mapped: dict[int, tuple[mmap.mmap, int]] = {}

    def mapping(self, description: dict[str, Any], descriptors: Iterable[int]) -> SharedMapping:
        """Return the mapping for a lease's description. `descriptors` has the descriptor of a new segment."""
        number = description["number"]
        for closed in description["closed"]:
            if closed in self._mapped:
                os.close(self._mapped.pop(closed)[1])
        for descriptor in descriptors:
            self._mapped[number] = mmap.mmap(descriptor, 0), descriptor
        return SharedMapping(memoryview(self._mapped[number][0]), description["size"])
