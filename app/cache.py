"""A cache that forgets what was used least recently. The evaluation keeps plans in it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Cache(Generic[K, V]):
    """At most `entries` values, whose weights sum to at most `weight`. Several threads may use it."""

    def __init__(self, entries: int, weight: int) -> None:
        self._entries, self._most = entries, weight
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._total = 0
        self._lock = Lock()

    @property
    def total(self) -> int:
        """What the values that are kept weigh together."""
        return self._total

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: K) -> V | None:
        """Return the value, which is now the one used last, or None."""
        found = self._kept.get(key)
        if found is None:
            return None
        try:  # noqa: SIM105  # `suppress` takes three times as long as all of this
            self._kept.move_to_end(key)
        except KeyError:  # another thread has just forgotten it
            pass
        return found[0]

    def put(self, key: K, value: V, weight: int) -> None:
        """Keep the value, and forget others if there is no room. One that is too heavy alone is not kept."""
        if weight > self._most:
            return
        with self._lock:
            self._total += weight - self._kept.pop(key, (value, 0))[1]
            self._kept[key] = (value, weight)
            while self._total > self._most or len(self._kept) > self._entries:
                self._total -= self._kept.popitem(last=False)[1][1]
