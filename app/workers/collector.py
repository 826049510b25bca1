"""The garbage collector's thresholds, for the server process and the workers."""

from __future__ import annotations

import gc

_THRESHOLDS = 10_000, 10, 10
"""Allocations between two collections, and collections of a generation between two of the next.

Python's own are 700, 10, 10. CPU time of the tutorial's call, on the fast path: 225 to 262 us with those, 210 us with
these, 205 to 217 us with 100,000, 50, 50, where a full collection practically never comes. 200,000 rows of three
numbers that take the slow way of reading JSON: 212, 192 and 172 ms.
"""


def configure() -> None:
    """Leave the objects that exist now out of all collections, which are the imported modules, and set thresholds."""
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
