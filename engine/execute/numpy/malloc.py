"""The C library's heap, told to keep what arrays leave behind.

NumPy frees an array's memory to the C library, which gives it back to the system where it can; the next array of that
size is then new pages, and a page's first use takes longer than the arithmetic on it (measured: 0.45 ms a megabyte, and
0.03 ms to add two arrays into a megabyte that is there). A run's arrays have the sizes of the run before, so up to
`KEPT` bytes stay. `engine.execute.numpy.runner` asks for it once a process; other C libraries than glibc are left as
they are.
"""

from __future__ import annotations

import ctypes
import functools
import sys

KEPT = 2**28
"""Bytes of freed memory, at most, that stay with the process at the end of its heap."""

_LARGEST = 2**25
"""Bytes from which on an array gets pages of its own: the most that glibc accepts here."""

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
"""Parameters of mallopt. Source: glibc's malloc.h."""

_SETTINGS = ((_TRIM_THRESHOLD, KEPT), (_TOP_PAD, KEPT // 4), (_MMAP_THRESHOLD, _LARGEST), (_ARENA_MAX, 1))
"""One arena, so that the bound holds for all threads together."""


@functools.cache
def keep_freed() -> None:
    """Let the heap keep up to `KEPT` bytes of freed memory."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in _SETTINGS:
            mallopt(parameter, value)
