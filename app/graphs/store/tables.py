"""The tables of registered graphs, and the version mark that identifies a database of the service.

`app.graphs.store.sqlite` and `app.graphs.store.postgresql` create the tables in a new database, upgrade a database of
an older format, and refuse other databases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Engine, Integer, LargeBinary, MetaData, Table, Text

VERSION = 2
"""The version of the tables. A release that changes them increments it and states how it reads older databases.

Format 1 has the table `graphs` alone, so an upgrade creates the other tables.
"""

UPGRADED = {1}
"""The older formats that this release upgrades."""

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
"""One row per graph. `bytes` is the total size of `text` and `data`. In PostgreSQL the comment is the version mark."""

OWNERS = Table(
    "graph_owners",
    METADATA,
    Column("graph_id", Text, primary_key=True),
    Column("owner", Text, primary_key=True, index=True),
    Column("created", Text, nullable=False),
)
"""One row for each key that registered a graph. Graphs that were registered without a key have none.

Releases with format 1 delete a graph and leave its rows, so rows count only together with their graph.
"""

CALLS = Table(
    "graph_calls",
    METADATA,
    Column("graph_id", Text, primary_key=True),
    Column("called", BigInteger().with_variant(Integer, "sqlite"), nullable=False),
)
"""The time of the last call of a graph, in seconds since 1970, where graphs expire."""

BUSY_S = 2.0
"""Maximum seconds that a write waits for the write of another process."""


class UnusableStore(Exception):
    """The database is not usable as the store: of another program or a later release, damaged, or it does not open."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The connections of one process to a database that has the tables of this release.

    `lock` is the first statement of a writing transaction. It waits until no other transaction writes. `check_place`
    raises UnusableStore if the database is no longer the one that was opened.
    """

    engine: Engine
    lock: str
    check_place: Callable[[], None] = lambda: None


def check_version(store: str, found: int) -> None:
    """Check that the version of a database's tables is this release's. Raises UnusableStore."""
    if found != VERSION:
        raise UnusableStore(
            f"The store {store} has the format {found}, and this release reads {VERSION}; use the release that made "
            "it, or name another one in GRADD_STORE."
        )
