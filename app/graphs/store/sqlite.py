"""SQLite as the database of registered graphs. `app.graphs.store.database` calls it.

Several processes may open the file at the same time. It has a write-ahead log, so readers do not wait for writers.
"""

from __future__ import annotations

import os
import sqlite3
import time
from functools import partial
from pathlib import Path

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.exc import OperationalError

from app.graphs.store.tables import BUSY_S, METADATA, UPGRADED, VERSION, Opened, UnusableStore, check_version

APPLICATION = 0x67726164
"""Identifies a SQLite file of this service: "grad" in ASCII. Source: SQLite, PRAGMA application_id."""

_LOCK = "BEGIN IMMEDIATE"


def opened(path: str, *, makes: bool = True) -> Opened:
    """Open the file, and create the table of a new file. Raises SQLAlchemyError, UnusableStore.

    Without `makes` there must be a file: a new one would have none of the graphs.
    """
    if not makes and not Path(path).exists():
        raise _removed(path)
    engine = create_engine(
        URL.create("sqlite+pysqlite", database=path),
        # Without an isolation level the driver begins no transaction; `_LOCK` begins it.
        connect_args={"timeout": BUSY_S, "isolation_level": None},
        hide_parameters=True,
    )
    event.listen(engine, "connect", _configure)
    try:
        _prepare(engine, path)
        place = _place(path)
    except BaseException as error:
        engine.dispose()
        obstacle = _obstacle(Path(path)) if isinstance(error, OperationalError) else ""
        if obstacle:
            raise UnusableStore(f"The store {path} cannot be opened: {obstacle}.") from None
        raise
    return Opened(engine, _LOCK, partial(_check_place, path, place))


def _place(path: str) -> tuple[int, int]:
    """Return what identifies the file at the path. Raises UnusableStore if there is none."""
    try:
        found = Path(path).stat()
    except FileNotFoundError:
        raise _removed(path) from None
    return found.st_dev, found.st_ino


def _check_place(path: str, place: tuple[int, int]) -> None:
    """Check that the path still leads to the opened file. SQLite writes to a removed file without an error."""
    if _place(path) != place:
        raise UnusableStore(f"The store {path} was replaced by another file while it was open.")


def _removed(path: str) -> UnusableStore:
    return UnusableStore(f"The store {path} was removed. Put it back, or restart the server to begin without graphs.")


def check_writable(opened: Opened) -> None:
    """Check that the file can be written: write its version in a transaction, and undo it. Raises SQLAlchemyError."""
    with opened.engine.connect() as connection:
        try:
            connection.exec_driver_sql(_LOCK)
            connection.exec_driver_sql(f"PRAGMA user_version = {VERSION}")
        except OperationalError as error:
            if getattr(error.orig, "sqlite_errorcode", None) != sqlite3.SQLITE_BUSY:  # another process writes
                raise


def _obstacle(path: Path) -> str:
    """Return what prevents the file from being opened, where SQLite's message has no reason; else an empty string."""
    folder = path.parent
    if not folder.is_dir():
        return f"there is no folder {folder}"
    if path.is_dir():
        return "it is a folder"
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        return "this user may not read and write the file"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"this user may not create files in the folder {folder}, and SQLite needs two beside the store"
    return ""


def _configure(connection: sqlite3.Connection, _record: object) -> None:
    """Sync the disk at checkpoints, not at every commit. A power failure may undo the last commits, nothing else."""
    connection.execute("PRAGMA synchronous = NORMAL")


def _prepare(engine: Engine, path: str) -> None:
    """Create the table of a new file, and refuse other programs' and releases' files. Raises UnusableStore."""
    if not _header(engine)[0]:
        with engine.begin() as connection:
            connection.exec_driver_sql(_LOCK)
            if connection.exec_driver_sql("SELECT 1 FROM sqlite_master").first() is None:
                METADATA.create_all(connection)
                connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION}")
                connection.exec_driver_sql(f"PRAGMA user_version = {VERSION}")
    application, version = _header(engine)
    if application != APPLICATION:
        raise UnusableStore(f"The store {path} is another program's SQLite file; name another in GRADD_STORE.")
    if version in UPGRADED:
        version = _upgraded(engine)
    check_version(path, version)
    _write_ahead(engine)


def _upgraded(engine: Engine) -> int:
    """Upgrade the tables, unless another process has done so meanwhile. Return their version."""
    with engine.begin() as connection:
        connection.exec_driver_sql(_LOCK)
        version = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
        if version in UPGRADED:
            METADATA.create_all(connection)
            connection.exec_driver_sql(f"PRAGMA user_version = {VERSION}")
            version = VERSION
    return version


def _header(engine: Engine) -> tuple[int, int]:
    """Return the program's id and the tables' version from the file's header. Both are 0 in a new file."""
    with engine.connect() as connection:
        application, version = (
            int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
            for name in ("application_id", "user_version")
        )
    return application, version


def _write_ahead(engine: Engine) -> None:
    """Enable the write-ahead log. SQLite does not wait for other processes that enable it, so this function does."""
    latest = time.monotonic() + BUSY_S
    with engine.connect() as connection:
        while connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() != "wal":
            try:
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            except OperationalError:
                if time.monotonic() > latest:
                    raise
                time.sleep(0.01)
