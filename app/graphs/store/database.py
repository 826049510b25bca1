"""The database of registered graphs: its table, and one pool of connections per process.

`app.graphs.store.store` reads and writes through it. `app.graphs.store.sqlite` and `app.graphs.store.postgresql` open
the two kinds of database.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeGuard

from sqlalchemy import URL, Connection
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from app.graphs.store import sqlite
from app.graphs.store.tables import Opened, UnusableStore
from app.graphs.store.temporary import TemporaryFolder

_KINDS = "a path, sqlite:///path or postgresql+psycopg://user:password@host/database"

_POSTGRESQL = {"postgresql", "postgresql+psycopg"}
"""The schemes of URLs of PostgreSQL."""


class Database:
    """The database at a location. Several threads and processes may use it.

    `location` is the path of a SQLite file, or a URL. If it is None, the database is a SQLite file in a temporary
    folder, which is removed when the process ends. A SQLite file is created by the first opening of a process that
    `makes` it. A file that was removed since, or replaced, is noticed before anything is read or committed.
    """

    def __init__(self, location: str | None, *, makes: bool = True) -> None:
        self._makes = makes
        self._folder = TemporaryFolder() if location is None else None
        self.location = str(self._folder.path / "graphs.sqlite") if self._folder else str(location)
        self._opened: dict[int, Opened] = {}

    @property
    def folder(self) -> TemporaryFolder | None:
        """The temporary folder of a database without a location, else None."""
        return self._folder

    @property
    def name(self) -> str:
        """The location for messages: without the password."""
        if "://" not in self.location:
            return self.location
        url = _url(self.location)
        return "that GRADD_STORE names" if url is None else url.set(query={}).render_as_string()

    @property
    def is_file(self) -> bool:
        """Whether the database is a SQLite file."""
        return "://" not in self.location or self.location.startswith("sqlite")

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection for reading, which waits for no writer. Raises SQLAlchemyError, OSError, UnusableStore."""
        opened = self._in_place()
        with opened.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yield a connection in a transaction that excludes other writers.

        Raises SQLAlchemyError, OSError, UnusableStore.
        """
        opened = self._in_place()
        with opened.engine.begin() as connection:
            connection.exec_driver_sql(opened.lock)
            yield connection
            self._check_place(opened)

    def _in_place(self) -> Opened:
        opened = self.open()
        self._check_place(opened)
        return opened

    def _check_place(self, opened: Opened) -> None:
        """Check that the database is the one that was opened, else close it. The next call opens what is there."""
        try:
            opened.check_place()
        except UnusableStore:
            if self._opened.get(os.getpid()) is opened:
                del self._opened[os.getpid()]
            opened.engine.dispose()
            raise

    def open(self) -> Opened:
        """Return this process's connections. Raises SQLAlchemyError, OSError, UnusableStore.

        The first call opens them. A forked process opens its own and does not touch its parent's: to close a SQLite
        file that was opened before a fork can damage it. Source: https://sqlite.org/howtocorrupt.html, section 2.6.
        """
        process = os.getpid()
        found = self._opened.get(process)
        if found is None:
            made = self._made()
            self._makes = False
            found = self._opened.setdefault(process, made)
            if found is not made:  # another thread was faster
                made.engine.dispose()
        return found

    def check(self) -> None:
        """Check that the database can be read and written. Raises SQLAlchemyError, OSError, UnusableStore."""
        opened = self._in_place()
        if opened.engine.dialect.name == "sqlite":
            sqlite.check_writable(opened)

    def is_away(self) -> bool:
        """Return whether the database is a server that does not answer now. It may answer later."""
        url = _url(self.location) if "://" in self.location else None
        if url is None or url.drivername not in _POSTGRESQL:
            return False
        from app.graphs.store import postgresql  # noqa: PLC0415  # its driver is optional

        return postgresql.is_away(url)

    def close(self) -> None:
        """Close this process's connections, and remove the temporary folder."""
        opened = self._opened.pop(os.getpid(), None)
        if opened is not None:
            opened.engine.dispose()
        if self._folder is not None:
            self._folder.remove()

    def _made(self) -> Opened:
        if self._folder is not None:
            self._folder.make()
        if "://" not in self.location:
            return sqlite.opened(self.location, makes=self._makes)
        url = _url(self.location)
        if url is None:
            raise UnusableStore(f"GRADD_STORE is not a URL; it takes {_KINDS}.")
        if url.drivername in {"sqlite", "sqlite+pysqlite"} and _is_file(url.database) and not url.query:
            return sqlite.opened(url.database, makes=self._makes)
        if url.drivername in _POSTGRESQL:
            return self._connected(url)
        raise UnusableStore(f"The store {self.name} cannot be used; GRADD_STORE takes {_KINDS}.")

    def _connected(self, url: URL) -> Opened:
        try:
            from app.graphs.store.postgresql import opened  # noqa: PLC0415  # its driver is optional
        except ImportError:
            detail = "needs a driver that is not installed; run pip install 'gradd[postgres]'."
            raise UnusableStore(f"The store {self.name} {detail}") from None
        return opened(url)


def _url(location: str) -> URL | None:
    """Return the location as a URL, or None if it is not a URL."""
    try:
        return make_url(location)
    except (ArgumentError, ValueError):  # ValueError: the port is not a number
        return None


def _is_file(database: str | None) -> TypeGuard[str]:
    """Return whether the database of a SQLite URL is a file, which other processes can open, and not in memory."""
    return database not in {None, "", ":memory:"}


def reason(error: Exception) -> str:
    """Return an error's message in one line: the driver's message, without the statement and its parameters."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return " ".join(str(cause).split())
