"""PostgreSQL as the database of registered graphs, for servers on several machines.

Every database call has a time limit: the server limits locks and statements, and the client limits the wait for each
answer, because a stopped or disconnected server enforces no limit. `app.graphs.store.database` imports this module only
for a PostgreSQL URL, because the driver is optional.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import make_conninfo
from sqlalchemy import URL, Connection, Engine, create_engine, event

from app.graphs.store.tables import BUSY_S, METADATA, UPGRADED, VERSION, Opened, UnusableStore, check_version

T = TypeVar("T")

_DRIVER = "postgresql+psycopg"

_CONNECT_S = 3
"""Maximum seconds to open a connection."""

_STATEMENT_S = 10
"""Maximum seconds of a statement: ten times the time for a graph of 64 MiB on a network of 1 Gbit/s."""

_SILENCE_S = 12.0
"""Maximum seconds that the client waits for an answer. The server's limit is shorter: its message has more details."""

_LOCK = "SELECT pg_advisory_xact_lock(1735549284)"
"""The lock of writers: a quota is exact only if no other writer inserts between the count and the insert. Readers take
no lock. The number is "grad" in ASCII, and has no meaning for PostgreSQL."""

_MARK = "SELECT to_regclass('graphs') IS NOT NULL, obj_description(to_regclass('graphs'), 'pg_class')"


class _Bounded(psycopg.Connection[Any]):
    """A connection that fails if the server sends no answer for `_SILENCE_S` seconds."""

    def wait(self, gen: Generator[Any, Any, T], *arguments: Any, **options: Any) -> T:
        """Wait until the communication `gen` with the server is complete. Raises OperationalError."""
        return super().wait(self._bounded(gen), *arguments, **options)

    def _bounded(self, gen: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        """Wrap `gen` with a time limit. A falsy `ready` means that an interval passed without an event."""
        latest = time.monotonic() + _SILENCE_S
        try:
            waits = next(gen)
            while True:
                ready = yield waits
                if not ready and time.monotonic() > latest:
                    self.close()
                    raise psycopg.OperationalError(f"the server gave no answer in {_SILENCE_S:.0f} s")
                waits = gen.send(ready)
        except StopIteration as end:
            result: T = end.value
            return result


def opened(url: URL) -> Opened:
    """Connect to the database, and create the table if it does not exist. Raises SQLAlchemyError, UnusableStore."""
    engine = create_engine(
        url.set(drivername=_DRIVER),
        connect_args={"connect_timeout": _CONNECT_S, "client_encoding": "utf8"},
        isolation_level="READ COMMITTED",  # statements after the lock see earlier commits of other writers
        pool_pre_ping=True,  # replaces connections after a restart of the server
        pool_timeout=_STATEMENT_S,
        hide_parameters=True,
    )
    event.listen(engine, "do_connect", _connected)
    try:
        _prepare(engine, url.set(query={}).render_as_string())
    except BaseException:
        engine.dispose()
        raise
    return Opened(engine, _LOCK)


def is_away(url: URL) -> bool:
    """Return whether no server answers now, or one that starts or stops. A server that refuses the user is not away."""
    _, options = url.set(drivername=_DRIVER).get_dialect()().create_connect_args(url)
    server = make_conninfo(**options, connect_timeout=_CONNECT_S).encode()
    return psycopg.pq.PGconn.ping(server) in {psycopg.pq.Ping.NO_RESPONSE, psycopg.pq.Ping.REJECT}


def _connected(_dialect: object, _record: object, arguments: list[Any], options: dict[str, Any]) -> _Bounded:
    connection = _Bounded.connect(*arguments, **options)
    bounds = {
        "lock_timeout": BUSY_S,
        "statement_timeout": _STATEMENT_S,
        "idle_in_transaction_session_timeout": _STATEMENT_S,  # a disconnected client keeps no lock
    }
    try:
        for name, seconds in bounds.items():
            connection.execute(f"SET {name} = '{seconds}s'")
        connection.commit()
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(engine: Engine, name: str) -> None:
    """Create the table if it does not exist, and refuse the table of another release. Raises UnusableStore."""
    with engine.connect() as connection:
        exists, mark = _found(connection)
    if not exists:
        with engine.begin() as connection:
            connection.exec_driver_sql(_LOCK)
            METADATA.create_all(connection)
            _, mark = _found(connection)
    program, _, version = (mark or "").partition(" ")
    if program != "gradd" or not version.isdecimal():
        detail = "has another program's table `graphs`; name another database or schema in GRADD_STORE."
        raise UnusableStore(f"The store {name} {detail}")
    if int(version) in UPGRADED:
        version = _upgraded(engine)
    check_version(name, int(version))


def _upgraded(engine: Engine) -> str:
    """Upgrade the tables, unless another server has done so meanwhile. Return their version."""
    with engine.begin() as connection:
        connection.exec_driver_sql(_LOCK)
        version = (_found(connection)[1] or "").partition(" ")[2]
        if int(version) in UPGRADED:
            METADATA.create_all(connection)
            connection.exec_driver_sql(f"COMMENT ON TABLE graphs IS 'gradd {VERSION}'")
            version = str(VERSION)
    return version


def _found(connection: Connection) -> tuple[bool, str | None]:
    """Return whether the table of graphs exists, and its comment."""
    exists, mark = connection.exec_driver_sql(_MARK).one()
    return exists, mark
