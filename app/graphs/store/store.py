"""The store of registered graphs. Several processes and servers may share it.

`app.graphs.registered` reads it, and the routes of registered graphs read and write it. The store handles ids, bytes
and quotas, and does not interpret the bytes. Every failure of the database raises `StoreUnavailable` and writes a line
to the log.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

import structlog
from sqlalchemy import Connection, delete, func, insert, select
from sqlalchemy.exc import SQLAlchemyError

from app.errors import OverQuota, StoreUnavailable
from app.graphs.store.database import Database, reason
from app.graphs.store.tables import GRAPHS, UnusableStore
from app.settings import Settings

_log = structlog.get_logger("gradd.store")

_BELIEVED_S = 1.0
"""Seconds for which the existence of a graph is cached. A process's own deletions take effect at once."""


@dataclass(frozen=True, slots=True)
class StoredGraph:
    """A graph in the store: the text of its normal form, and the concatenated values of its tensors."""

    id: str
    text: bytes
    data: bytes
    created: str = ""

    @property
    def bytes(self) -> int:
        """The bytes that count towards the quota."""
        return len(self.text) + len(self.data)


@dataclass(frozen=True, slots=True)
class StoreUsage:
    """The number of graphs in the store, and their total bytes."""

    graphs: int
    bytes: int


class Store:
    """The registered graphs. Several threads, processes and servers may use one store.

    Without a location in the settings, the graphs are deleted with this object or its process.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = Database(settings.store)
        self._found_until: dict[str, float] = {}
        self._deletions = 0
        self._lock = Lock()
        self._finalizer = weakref.finalize(self, self._database.close)

    @property
    def location(self) -> str:
        """The path or URL by which other processes open the store."""
        return self._database.location

    @property
    def name(self) -> str:
        """The location for messages: without the password."""
        return self._database.name

    @property
    def temporary(self) -> Path | None:
        """The folder of a temporary store, None for a permanent one."""
        folder = self._database.folder
        return None if folder is None else folder.path

    def check(self) -> None:
        """Open the store of the settings to verify that it can be read and written. Raises UnusableStore."""
        if self.temporary is not None:  # created when the first graph is registered
            return
        try:
            self._database.check()
        except (SQLAlchemyError, OSError) as error:
            raise UnusableStore(f"The store {self.name} cannot be opened: {reason(error)}.") from None

    def close(self) -> None:
        """Close the connections, and remove a temporary store."""
        self._finalizer()

    def is_known(self, graph_id: str) -> bool:
        """Return whether the graph was found less than a second ago. Does not query the database, so it never waits."""
        return time.monotonic() < self._found_until.get(graph_id, 0.0)

    def __contains__(self, graph_id: str) -> bool:
        """Return whether the graph is registered. Raises StoreUnavailable."""
        return self.is_known(graph_id) or self._is_found(graph_id)

    def _is_found(self, graph_id: str) -> bool:
        """Query the database. The result is not cached if a graph was deleted during the query."""
        deletions, until = self._deletions, time.monotonic() + _BELIEVED_S
        if not _is_askable(graph_id):
            return False
        with self._available(), self._database.reading() as connection:
            found = connection.execute(select(GRAPHS.c.id).where(GRAPHS.c.id == graph_id)).first() is not None
        with self._lock:
            if found and deletions == self._deletions:
                if len(self._found_until) >= self._settings.max_graphs:
                    self._found_until.clear()
                self._found_until[graph_id] = until
        return found

    def get(self, graph_id: str) -> StoredGraph | None:
        """Return the graph, or None. Raises StoreUnavailable."""
        if not _is_askable(graph_id):
            return None
        query = select(GRAPHS.c.id, GRAPHS.c.text, GRAPHS.c.data, GRAPHS.c.created).where(GRAPHS.c.id == graph_id)
        with self._available(), self._database.reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else StoredGraph(*row)

    def put(self, graph: StoredGraph) -> tuple[str, bool]:
        """Store a graph. Return the time of its first registration, and whether this call is the first.

        Of concurrent calls with the same graph, exactly one is first. Raises OverQuota, StoreUnavailable.
        """
        with self._available(), self._database.writing() as connection:
            known = connection.execute(select(GRAPHS.c.created).where(GRAPHS.c.id == graph.id)).scalar()
            if known is not None:
                return known, False
            self._check_quota(_usage(connection), graph)
            created = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
            row = {"id": graph.id, "created": created, "bytes": graph.bytes, "text": graph.text, "data": graph.data}
            connection.execute(insert(GRAPHS).values(row))
            return created, True

    def delete(self, graph_id: str) -> bool:
        """Delete a graph. Return whether it existed. Raises StoreUnavailable."""
        if not _is_askable(graph_id):
            return False
        with self._available(), self._database.writing() as connection:
            found = connection.execute(delete(GRAPHS).where(GRAPHS.c.id == graph_id)).rowcount > 0
        with self._lock:
            self._deletions += 1
            self._found_until.pop(graph_id, None)
        return found

    def usage(self) -> StoreUsage:
        """Return the number of graphs and their bytes. Raises StoreUnavailable."""
        with self._available(), self._database.reading() as connection:
            return _usage(connection)

    def _check_quota(self, usage: StoreUsage, graph: StoredGraph) -> None:
        settings = self._settings
        full = (
            f"{usage.graphs} graphs are registered, as many as the server keeps"
            if usage.graphs >= settings.max_graphs
            else f"{usage.bytes} of {settings.max_store_bytes} bytes for registered graphs are taken, "
            f"and this one has {graph.bytes}"
            if usage.bytes + graph.bytes > settings.max_store_bytes
            else ""
        )
        if full:
            raise OverQuota(f"{full}.", settings.retry_after_s)

    @contextmanager
    def _available(self) -> Iterator[None]:
        """Convert errors of the database to StoreUnavailable, and log them."""
        try:
            yield
        except (SQLAlchemyError, OSError, UnusableStore) as error:
            _log.error("store failed", store=self.name, error=f"{type(error).__name__}: {reason(error)}")
            detail = "Registered graphs are not available now; the server's log tells why."
            raise StoreUnavailable(detail, self._settings.retry_after_s) from None


def _is_askable(graph_id: str) -> bool:
    """Return whether the id is valid in a query. PostgreSQL refuses some characters that a path may contain."""
    return graph_id.isascii() and graph_id.isprintable()


def _usage(connection: Connection) -> StoreUsage:
    graphs, size = connection.execute(select(func.count(), func.coalesce(func.sum(GRAPHS.c.bytes), 0))).one()
    return StoreUsage(graphs, int(size))
