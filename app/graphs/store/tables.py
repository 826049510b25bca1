"""The table of registered graphs, and the mark by which a database is known to be the service's.

`app.graphs.store.sqlite` and `app.graphs.store.postgresql` create the table in a new database and refuse databases of
other formats.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Engine, Integer, LargeBinary, MetaData, Table, Text

VERSION = 1
"""The version of the tables. A release that changes them increments it and states how it reads older databases."""

METADATA = MetaData()

GRAPHS = Table(
    "graphs",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("created", Text, nullable=False),
    Column("bytes", BigInteger().with_variant(Integer, "sqlite"), nullable=False),
    Column("text", LargeBinary, nullable=False),
    Column("data", LargeBinary, nullable=False),
    comment=f"gradd {VERSION}",
)
"""One row per graph: `bytes` is the size of `text` and `data` together. PostgreSQL keeps the comment, which is the mark
there."""

BUSY_S = 2.0
"""Seconds that a write waits for the write of another process."""


class UnusableStore(Exception):
    """The database cannot be the store: it is another program's, a later release's, damaged, or cannot be opened."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The connections of one process to a database that has the tables of this release.

    `lock` is the statement at the beginning of a transaction that writes: it waits until no other transaction does.
    """

    engine: Engine
    lock: str


def check_version(store: str, found: int) -> None:
    """Hold the version of a database's tables against this release's. Raises UnusableStore."""
    if found != VERSION:
        raise UnusableStore(
            f"The store {store} has the format {found}, and this release reads {VERSION}; use the release that made "
            "it, or name another one in GRADD_STORE."
        )
