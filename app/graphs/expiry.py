"""Expiry: deletes registered graphs that nobody has called or registered for the time of `GRADD_GRAPH_TTL_S`.

The routes and the fast path note each call in memory, and a thread writes the times of the last calls to the store.
`app.http.services` runs it.
"""

from __future__ import annotations

import asyncio
import time

import structlog

from app.errors import StoreUnavailable
from app.graphs.store.store import Store

_log = structlog.get_logger("gradd.store")

_MOST_S = 60.0
"""Maximum seconds between two writes."""


class Expiry:
    """The expiry of the graphs of a store. `ttl_s` is the time without calls, None for graphs that do not expire."""

    def __init__(self, store: Store, ttl_s: int | None) -> None:
        self._store, self._ttl_s = store, ttl_s
        self._called: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def note(self, graph_id: str) -> None:
        """Note a call or a registration."""
        if self._ttl_s is not None:
            self._called.add(graph_id)

    def start(self) -> None:
        """Start to delete expired graphs. Call it on the event loop."""
        if self._ttl_s is not None:
            self._task = asyncio.get_running_loop().create_task(self._run(self._ttl_s))

    def stop(self) -> None:
        """Stop, and write the calls that are noted."""
        if self._task is not None:
            self._task.cancel()
            self.write()

    async def _run(self, ttl_s: int) -> None:
        interval_s = min(ttl_s / 10, _MOST_S)
        while True:
            await asyncio.sleep(interval_s)
            await asyncio.to_thread(self.expire, ttl_s + interval_s)

    def write(self) -> bool:
        """Write the times of the noted calls to the store. Return whether this succeeded."""
        called, self._called = self._called, set()
        try:
            self._store.touch(called)
        except StoreUnavailable:  # it is logged
            self._called |= called
            return False
        return True

    def expire(self, after_s: float) -> None:
        """Delete the graphs without calls in the last `after_s` seconds.

        Servers that share the store write their calls at intervals, so `after_s` includes an interval.
        """
        if not self.write():
            return
        try:
            expired = self._store.expire(time.time() - after_s)
        except StoreUnavailable:  # it is logged
            return
        if expired:
            _log.info("graphs expired", graphs=expired)
