"""Where registered graphs are kept: one SQLite file, which several processes may have open at the same time.

`app.registered` reads and writes what is kept, the routes ask what there is. The store knows ids, bytes and quotas;
what the bytes mean is not its business. Whatever goes wrong with the file becomes `StoreUnavailable`, and a line in the
log.
"""

from __future__ import annotations

import secrets
import shutil
import sqlite3
import tempfile
import time
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

from app.changes import Changes
from app.errors import OverQuota, StoreUnavailable
from app.settings import Settings

_log = structlog.get_logger("gradd.store")

APPLICATION = 0x67726164
"""What marks a SQLite file as this service's: "grad" in ASCII. Source: SQLite, PRAGMA application_id."""

VERSION = 1
"""The version of the tables. A release that changes them counts on, and says how it reads older files."""

_TABLES = """
CREATE TABLE graphs (
    id TEXT PRIMARY KEY,
    created TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    text BLOB NOT NULL,
    data BLOB NOT NULL
)
"""

_BUSY_S = 2.0
"""How long a write waits for another process's write. Readers wait for nobody: the file has a write-ahead log."""


_TRUSTED_S = 1.0
"""How long it is believed that a graph is there while nobody says that one was deleted. Whoever deletes one says so at
once, unless it is another program, or dies in between."""


class UnusableStore(Exception):
    """The file cannot be the store: it is another program's, a later release's, damaged, or cannot be opened."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A graph as it is kept: its text, and the values of its tensors one after the other."""

    id: str
    text: bytes
    data: bytes
    created: str = ""

    @property
    def bytes(self) -> int:
        """The bytes that it counts for."""
        return len(self.text) + len(self.data)


@dataclass(frozen=True, slots=True)
class Usage:
    """How much is kept."""

    graphs: int
    bytes: int


class Store:
    """The graphs that are registered. Several threads and processes may use one file.

    Without a path it is a file of its own, which goes with this object.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._own = settings.store is None
        self.path = settings.store or _temporary()
        self._idle: deque[sqlite3.Connection] = deque()
        self._deletions: Changes | None = None
        self._seen: dict[str, tuple[bytes, float]] = {}
        self._finalizer = weakref.finalize(self, _discard, self._idle, self.path.parent if self._own else None)

    def check(self) -> None:
        """Open the file that the settings name, if they do, before anybody depends on it. Raises UnusableStore."""
        if self._own:  # made when the first graph comes
            return
        try:
            self._idle.append(self._opened())
        except (sqlite3.Error, OSError) as error:
            raise UnusableStore(f"The store {self.path} cannot be opened: {error}.") from None

    def close(self) -> None:
        """Let go of the file, and remove it if it is the store's own."""
        self._finalizer()

    def __contains__(self, graph_id: str) -> bool:
        """Whether the graph is kept. Quick enough for the event loop to ask. Raises StoreUnavailable.

        One that was seen is not looked up again until somebody deletes one, or some time has passed.
        """
        seen = self._seen.get(graph_id)
        if seen is not None and self._deletions is not None:
            word, until = seen
            if word == self._deletions.word and time.monotonic() < until:
                return True
        return self._looked_up(graph_id)

    def _looked_up(self, graph_id: str) -> bool:
        """Ask the file. What it says is as of when it was asked, so the word is taken before."""
        with self._connection() as connection:
            assert self._deletions is not None
            word, until = self._deletions.word, time.monotonic() + _TRUSTED_S
            found = connection.execute("SELECT 1 FROM graphs WHERE id = ?", (graph_id,)).fetchone() is not None
        if len(self._seen) >= self._settings.max_graphs:
            self._seen.clear()
        if found:
            self._seen[graph_id] = word, until
        else:
            self._seen.pop(graph_id, None)
        return found

    def get(self, graph_id: str) -> Kept | None:
        """Return the graph, or None. Raises StoreUnavailable."""
        with self._connection() as connection:
            query = "SELECT id, text, data, created FROM graphs WHERE id = ?"
            row = connection.execute(query, (graph_id,)).fetchone()
        return None if row is None else Kept(*row)

    def put(self, graph: Kept) -> tuple[str, bool]:
        """Keep a graph; return when it was registered first, and whether that is now.

        Of several who put the same graph at once, one is first. Raises OverQuota, StoreUnavailable.
        """
        with self._connection() as connection, _transaction(connection):
            row = connection.execute("SELECT created FROM graphs WHERE id = ?", (graph.id,)).fetchone()
            if row is not None:
                return str(row[0]), False
            self._check_quota(_usage(connection), graph)
            created = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
            connection.execute(
                "INSERT INTO graphs (id, created, bytes, text, data) VALUES (?, ?, ?, ?, ?)",
                (graph.id, created, graph.bytes, graph.text, graph.data),
            )
            return created, True

    def delete(self, graph_id: str) -> bool:
        """Forget a graph; return whether there was one. Raises StoreUnavailable."""
        with self._connection() as connection:
            assert self._deletions is not None
            with _transaction(connection):
                found = connection.execute("DELETE FROM graphs WHERE id = ?", (graph_id,)).rowcount > 0
            self._deletions.note()
            return found

    def usage(self) -> Usage:
        """Return how much is kept. Raises StoreUnavailable."""
        with self._connection() as connection:
            return _usage(connection)

    def _check_quota(self, usage: Usage, graph: Kept) -> None:
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
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection to one thread. Raises StoreUnavailable for whatever goes wrong with the file."""
        connection = None
        try:
            connection = self._free()
            yield connection
            self._idle.append(connection)
        except (sqlite3.Error, OSError, UnusableStore) as error:
            if connection is not None:
                connection.close()
            _log.error("store failed", path=str(self.path), error=f"{type(error).__name__}: {error}")
            detail = "Registered graphs are not available now; the server's log tells why."
            raise StoreUnavailable(detail, self._settings.retry_after_s) from None
        except BaseException:
            if connection is not None:
                self._idle.append(connection)
            raise

    def _free(self) -> sqlite3.Connection:
        """Return a connection that nobody uses, a new one if need be."""
        try:
            return self._idle.pop()
        except IndexError:
            return self._opened()

    def _opened(self) -> sqlite3.Connection:
        """Open the file, and make its tables where it is new. Raises sqlite3.Error, OSError, UnusableStore."""
        if self._own:
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            _prepare(connection, self.path)
            if self._deletions is None:
                self._deletions = Changes(self.path.with_name(f"{self.path.name}-deletions"))
        except BaseException:
            connection.close()
            raise
        return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables of a new file, and refuse files that are not this release's. Raises UnusableStore."""
    if not _marks(connection)[0]:
        with _transaction(connection):
            if not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                connection.execute(_TABLES)
                connection.execute(f"PRAGMA application_id = {APPLICATION}")
                connection.execute(f"PRAGMA user_version = {VERSION}")
    application, version = _marks(connection)
    if application != APPLICATION:
        raise UnusableStore(f"The store {path} is another program's SQLite file; name another in GRADD_STORE.")
    if version != VERSION:
        raise UnusableStore(
            f"The store {path} has the format {version}, and this release reads {VERSION}; use the release that made "
            "it, or name another file in GRADD_STORE."
        )
    _write_ahead(connection)
    connection.execute("PRAGMA synchronous = NORMAL")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Give the file a write-ahead log. SQLite does not wait for others who do the same, so this does."""
    latest = time.monotonic() + _BUSY_S
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > latest:
                raise
            time.sleep(0.01)


def _marks(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return whose file it is and the version of its tables; a new file's are 0."""
    application, version = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    return application, version


def _usage(connection: sqlite3.Connection) -> Usage:
    return Usage(*connection.execute("SELECT count(*), coalesce(sum(bytes), 0) FROM graphs").fetchone())


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Write inside, alone among all processes: all of it or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _temporary() -> Path:
    """Return a path that nobody can have guessed, in a folder that is made when it is needed."""
    try:
        folder = tempfile.gettempdir()
    except FileNotFoundError:  # nothing can be written anywhere: that is told when it is tried
        folder = "."
    return Path(folder) / f"gradd-{secrets.token_hex(16)}" / "graphs.sqlite"


def _discard(idle: deque[sqlite3.Connection], folder: Path | None) -> None:
    while idle:
        idle.pop().close()
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
