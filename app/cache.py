"""A least recently used (LRU) cache. `app.evaluation` keeps plans in it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class CacheUsage(NamedTuple):
    """The number of cached values, their total weight, and the lookups since the start, by their result."""

    entries: int
    weight: int
    hits: int
    misses: int


class Cache(Generic[K, V]):
    """An LRU cache of at most `entries` values with a total weight of at most `weight`. It is thread-safe.

    The counts of lookups have no lock: two threads may count one lookup.
    """

    def __init__(self, entries: int, weight: int) -> None:
        self._entries, self._most = entries, weight
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._total = self._hits = self._misses = 0
        self._lock = Lock()

    @property
    def total(self) -> int:
        """The total weight of the cached values."""
        return self._total

    @property
    def usage(self) -> CacheUsage:
        """The current usage."""
        return CacheUsage(len(self._kept), self._total, self._hits, self._misses)

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, key: K) -> bool:
        return key in self._kept

    def get(self, key: K) -> V | None:
        """Return the value and mark it as the most recently used, or return None."""
        found = self._kept.get(key)
        if found is None:
            self._misses += 1
            return None
        self._hits += 1
        try:  # noqa: SIM105  # `suppress` takes three times as long as this method
            self._kept.move_to_end(key)
        except KeyError:  # another thread has just removed it
            pass
        return found[0]

    def put(self, key: K, value: V, weight: int) -> None:
        """Add the value, and remove the least recently used ones beyond the limits. Skip a value above `weight`."""
        if weight > self._most:
            return
        with self._lock:
            self._total += weight - self._kept.pop(key, (value, 0))[1]
            self._kept[key] = (value, weight)
            while self._total > self._most or len(self._kept) > self._entries:
                self._total -= self._kept.popitem(last=False)[1][1]
