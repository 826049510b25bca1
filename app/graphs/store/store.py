"""The store of registered graphs. Several processes and servers may share it.

`app.graphs.registered` reads it, and the routes of registered graphs read and write it. The store handles ids, bytes
and quotas, and does not interpret the bytes. Every failure of the database raises `StoreUnavailable` and writes a line
to the log.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

import structlog
from sqlalchemy import Connection, delete, func, insert, select
from sqlalchemy.exc import SQLAlchemyError

from app.errors import OverQuota, QuotaExceeded, StoreUnavailable, TimedOut, quota_headers
from app.graphs.store.database import Database, reason
from app.graphs.store.tables import CALLS, GRAPHS, OWNERS, UnusableStore
from app.settings import Settings

_log = structlog.get_logger("gradd.store")

_BELIEVED_S = 1.0
"""Seconds for which the existence of a graph is cached. A process's own deletions take effect at once."""


_TOUCHED = 500
"""Graphs whose calls are written in one transaction."""


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


@dataclass(frozen=True, slots=True)
class Owner:
    """Who registers, reads, calls and deletes a graph, by name, and the limits of the graphs of this owner."""

    name: str
    max_graphs: int | None = None
    max_bytes: int | None = None


class Store:
    """The registered graphs. Several threads, processes and servers may use one store.

    Without a location in the settings, the graphs are deleted with this object or its process. Methods with an `owner`
    see the graphs of this owner alone, without one they see all.
    """

    def __init__(self, settings: Settings, *, makes: bool = True) -> None:
        self._settings = settings
        self._database = Database(settings.store, makes=makes)
        self._found_until: dict[tuple[str, str | None], float] = {}
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

    def check(self) -> str:
        """Open the store of the settings to verify that it can be read and written. Raises UnusableStore.

        Return a warning if it is on a server that does not answer: later calls open it when the server answers.
        """
        if self.temporary is not None:  # created when the first graph is registered
            return ""
        try:
            self._database.check()
        except (SQLAlchemyError, OSError) as error:
            if self._database.is_away():
                return f"The store {self.name} does not answer: {reason(error)}. Registered graphs wait for it."
            raise UnusableStore(f"The store {self.name} cannot be opened: {reason(error)}.") from None
        return ""

    def verify(self) -> None:
        """Verify that a permanent SQLite file is there and can be read and written. Raises StoreUnavailable.

        A database on another machine is not asked: all servers would become unready together.
        """
        if self.temporary is None and self._database.is_file:
            with self._available():
                self._database.check()

    def close(self) -> None:
        """Close the connections, and remove a temporary store."""
        self._finalizer()

    def is_known(self, graph_id: str, owner: str | None = None) -> bool:
        """Return whether the graph was found less than a second ago. Does not query the database, so it never waits."""
        return time.monotonic() < self._found_until.get((graph_id, owner), 0.0)

    def __contains__(self, graph_id: str) -> bool:
        """Return whether the graph is registered. Raises StoreUnavailable."""
        return self.has(graph_id)

    def has(self, graph_id: str, owner: str | None = None) -> bool:
        """Return whether the graph is registered. Raises StoreUnavailable."""
        return self.is_known(graph_id, owner) or self._is_found(graph_id, owner)

    def _is_found(self, graph_id: str, owner: str | None) -> bool:
        """Query the database. The result is not cached if a graph was deleted during the query."""
        deletions, until = self._deletions, time.monotonic() + _BELIEVED_S
        found = self.created(graph_id, owner) is not None
        with self._lock:
            if found and deletions == self._deletions:
                if len(self._found_until) >= self._settings.max_graphs:
                    self._found_until.clear()
                self._found_until[graph_id, owner] = until
        return found

    def created(self, graph_id: str, owner: str | None = None) -> str | None:
        """Return the time of the first registration, or None. Raises StoreUnavailable."""
        if not _is_askable(graph_id):
            return None
        with self._available(), self._database.reading() as connection:
            return _created(connection, graph_id, owner)

    def get(self, graph_id: str) -> StoredGraph | None:
        """Return the graph, or None. Raises StoreUnavailable."""
        if not _is_askable(graph_id):
            return None
        query = select(GRAPHS.c.id, GRAPHS.c.text, GRAPHS.c.data, GRAPHS.c.created).where(GRAPHS.c.id == graph_id)
        with self._available(), self._database.reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else StoredGraph(*row)

    def put(self, graph: StoredGraph, owner: Owner | None = None, deadline: float | None = None) -> tuple[str, bool]:
        """Store a graph. Return the time of its first registration, and whether this call is the first.

        Of concurrent calls with the same graph, exactly one is first; with owners, one of each owner. Nothing is stored
        after the deadline, a moment of time.monotonic(). Raises OverQuota, QuotaExceeded, StoreUnavailable, TimedOut.
        """
        with self._writing(deadline) as connection:
            known = _created(connection, graph.id, None if owner is None else owner.name)
            if known is not None:
                return known, False
            created = _written(time.time())
            if owner is not None:
                _check_owner(connection, graph, owner, self._settings.retry_after_s)
            if _created(connection, graph.id, None) is None:
                self._check_quota(_usage(connection), graph)
                _remove(connection, graph.id)
                row = {"id": graph.id, "created": created, "bytes": graph.bytes, "text": graph.text, "data": graph.data}
                connection.execute(insert(GRAPHS).values(row))
            if owner is not None:
                connection.execute(insert(OWNERS).values(graph_id=graph.id, owner=owner.name, created=created))
            return created, True

    def delete(self, graph_id: str, owner: str | None = None, deadline: float | None = None) -> bool:
        """Delete a graph. Return whether it existed. Raises StoreUnavailable, TimedOut.

        With an owner, the graph stays as long as it has other owners. Nothing is deleted after the deadline.
        """
        if not _is_askable(graph_id):
            return False
        with self._writing(deadline) as connection:
            found = _created(connection, graph_id, owner) is not None
            if owner is not None:
                connection.execute(delete(OWNERS).where(OWNERS.c.graph_id == graph_id, OWNERS.c.owner == owner))
            if found and (owner is None or not _has_owners(connection, graph_id)):
                _remove(connection, graph_id)
        with self._lock:
            self._deletions += 1
            if owner is None:
                self._found_until.clear()
            self._found_until.pop((graph_id, owner), None)
        return found

    def touch(self, graph_ids: Iterable[str]) -> None:
        """Set the time of the last call of these graphs to now. Raises StoreUnavailable."""
        asked, now = list(filter(_is_askable, graph_ids)), int(time.time())
        for begin in range(0, len(asked), _TOUCHED):
            some = asked[begin : begin + _TOUCHED]
            with self._available(), self._database.writing() as connection:
                there = connection.execute(select(GRAPHS.c.id).where(GRAPHS.c.id.in_(some))).scalars().all()
                connection.execute(delete(CALLS).where(CALLS.c.graph_id.in_(some)))
                if there:
                    connection.execute(insert(CALLS), [{"graph_id": graph_id, "called": now} for graph_id in there])

    def expire(self, before: float) -> int:
        """Delete the graphs that were registered before a time and not called since. Return their number.

        The time is in seconds since 1970. Raises StoreUnavailable.
        """
        is_idle = CALLS.c.called.is_(None) | (CALLS.c.called < int(before))
        idle = select(GRAPHS.c.id).outerjoin(CALLS, CALLS.c.graph_id == GRAPHS.c.id)
        idle = idle.where(GRAPHS.c.created < _written(before), is_idle)
        with self._available(), self._database.writing() as connection:
            expired = connection.execute(idle).scalars().all()
            for graph_id in expired:
                _remove(connection, graph_id)
        if expired:
            with self._lock:
                self._deletions += 1
                self._found_until.clear()
        return len(expired)

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
    def _writing(self, deadline: float | None) -> Iterator[Connection]:
        """Yield a connection in a writing transaction, which is undone if the deadline passes before its end.

        Raises StoreUnavailable, TimedOut.
        """
        with self._available(), self._database.writing() as connection:
            yield connection
            if deadline is not None and time.monotonic() > deadline:
                raise TimedOut("The store was not written in time; nothing in it is changed.")

    @contextmanager
    def _available(self) -> Iterator[None]:
        """Convert errors of the database to StoreUnavailable, and log them."""
        try:
            yield
        except (SQLAlchemyError, OSError, UnusableStore) as error:
            _log.error("store failed", store=self.name, error=f"{type(error).__name__}: {reason(error)}")
            detail = "Registered graphs are not available now; the server's log tells why."
            raise StoreUnavailable(detail, self._settings.retry_after_s) from None


def _written(seconds: float) -> str:
    """Return a time in seconds since 1970 as the store has it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _is_askable(graph_id: str) -> bool:
    """Return whether the id is valid in a query. PostgreSQL refuses some characters that a path may contain."""
    return graph_id.isascii() and graph_id.isprintable()


def _created(connection: Connection, graph_id: str, owner: str | None) -> str | None:
    """Return the time of a graph's first registration, by the owner if there is one."""
    query = select(GRAPHS.c.created).where(GRAPHS.c.id == graph_id)
    if owner is not None:
        owned = (OWNERS.c.graph_id == graph_id) & (OWNERS.c.owner == owner)
        query = select(OWNERS.c.created).join(GRAPHS, GRAPHS.c.id == OWNERS.c.graph_id).where(owned)
    created: str | None = connection.execute(query).scalar()
    return created


def _has_owners(connection: Connection, graph_id: str) -> bool:
    return connection.execute(select(OWNERS.c.owner).where(OWNERS.c.graph_id == graph_id)).first() is not None


def _remove(connection: Connection, graph_id: str) -> None:
    """Delete the rows of a graph in all tables."""
    connection.execute(delete(GRAPHS).where(GRAPHS.c.id == graph_id))
    connection.execute(delete(OWNERS).where(OWNERS.c.graph_id == graph_id))
    connection.execute(delete(CALLS).where(CALLS.c.graph_id == graph_id))


def _check_owner(connection: Connection, graph: StoredGraph, owner: Owner, retry_after_s: int) -> None:
    """Check the limits of the graphs of an owner. Raises QuotaExceeded."""
    if owner.max_graphs is None and owner.max_bytes is None:
        return
    usage = _usage(connection, owner.name)
    if owner.max_graphs is not None and usage.graphs >= owner.max_graphs:
        detail = f"The key {owner.name} has {usage.graphs} registered graphs, as many as it may have."
        raise QuotaExceeded(detail, quota_headers("graphs", owner.max_graphs, 0, retry_after_s))
    if owner.max_bytes is not None and usage.bytes + graph.bytes > owner.max_bytes:
        left = max(owner.max_bytes - usage.bytes, 0)
        detail = (
            f"The key {owner.name} may register {left} of its {owner.max_bytes} bytes; this graph has {graph.bytes}."
        )
        raise QuotaExceeded(detail, quota_headers("bytes", owner.max_bytes, left, retry_after_s))


def _usage(connection: Connection, owner: str | None = None) -> StoreUsage:
    query = select(func.count(), func.coalesce(func.sum(GRAPHS.c.bytes), 0)).select_from(GRAPHS)
    if owner is not None:
        query = query.join(OWNERS, OWNERS.c.graph_id == GRAPHS.c.id).where(OWNERS.c.owner == owner)
    graphs, size = connection.execute(query).one()
    return StoreUsage(graphs, int(size))
