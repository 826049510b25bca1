"""The store as a SQLite file: which files it takes, and what happens to a file while it is used."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from app.errors import StoreUnavailable
from app.graphs.registered import RegisteredGraphs
from app.graphs.store.sqlite import APPLICATION
from app.graphs.store.store import Owner, Store, StoreUsage
from app.graphs.store.tables import VERSION, UnusableStore
from app.settings import Settings
from tests.app.graphs.test_store import kept


def open_store(path: Path | str | None = None) -> Store:
    return Store(Settings(store=path))


def marked(path: Path, application: int, version: int) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE accounts (name TEXT)")
        connection.execute(f"PRAGMA application_id = {application}")
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()


@pytest.mark.parametrize(
    ("made", "detail"),
    [
        (lambda path: marked(path, 0, 0), "another program's"),
        (lambda path: marked(path, 7, VERSION), "another program's"),
        (lambda path: marked(path, APPLICATION, VERSION + 1), f"has the format {VERSION + 1}"),
        (lambda path: path.write_bytes(b"no database " * 100), "not a database"),
        (lambda path: path.mkdir(), "it is a folder"),
    ],
)
def test_a_file_that_cannot_be_the_store_is_refused_at_the_start(tmp_path: Path, made: Any, detail: str) -> None:
    path = tmp_path / "graphs.sqlite"
    made(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(UnusableStore, match=detail) as refused:
        open_store(path).check()
    assert str(path) in str(refused.value)
    assert before is None or path.read_bytes() == before


def test_a_new_file_is_made_at_the_start(tmp_path: Path) -> None:
    open_store(tmp_path / "graphs.sqlite").check()
    open_store(tmp_path / "graphs.sqlite").check()
    with pytest.raises(UnusableStore, match="there is no folder"):
        open_store(tmp_path / "nowhere" / "graphs.sqlite").check()


def test_a_url_and_a_path_are_one_file(tmp_path: Path) -> None:
    path = tmp_path / "graphs.sqlite"
    open_store(f"sqlite:///{path}").put(kept("a"))
    assert "a" in open_store(path)


def format_1(path: Path) -> Path:
    connection = sqlite3.connect(path)
    connection.executescript(Path(__file__).with_name("format_1.sql").read_text(encoding="utf-8"))
    connection.close()
    return path


def test_a_file_of_format_1_is_upgraded(tmp_path: Path) -> None:
    store = open_store(format_1(tmp_path / "graphs.sqlite"))
    store.check()
    assert store.usage() == StoreUsage(graphs=1, bytes=325)
    graph_id = "sha256-7b6339252d56cc55c27ab6ff88473073724181e127da144e6b7f54d22068c75e"
    graph = RegisteredGraphs(store, Settings()).get(graph_id)
    assert graph.created == "2026-11-28T17:27:02Z"
    assert graph.needs == ["x"]
    assert graph.arrays["a"].tolist() == [0.5, 2]
    assert store.put(kept("a"), Owner("one"))[1]
    assert store.has("a", "one")
    assert store.delete(graph_id)


def test_an_upgraded_file_has_the_tables_of_a_new_one(tmp_path: Path) -> None:
    """The release that made the file reads it no more, but one that has it open goes on: its table is the same."""
    old, new = format_1(tmp_path / "old.sqlite"), tmp_path / "new.sqlite"

    def layout(path: Path) -> list[Any]:
        connection = sqlite3.connect(path)
        columns = connection.execute(
            'SELECT m.name, c.name, c.type, c."notnull" OR c.pk, c.pk '
            "FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' ORDER BY 1, 2"
        )
        indexes = connection.execute("SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
        marks = [connection.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")]
        found = [*columns.fetchall(), *indexes, *marks, connection.execute("PRAGMA journal_mode").fetchone()]
        connection.close()
        return found

    before = [row for row in layout(old) if row[0] == "graphs"]
    for path in (old, new):
        open_store(path).check()
    assert layout(new) == layout(old)
    assert [row for row in layout(new) if row[0] == "graphs"] == before


def test_without_a_location_it_goes_with_its_owner() -> None:
    store = open_store()
    assert store.temporary is not None
    assert not store.temporary.exists()
    store.put(kept("a"))
    assert store.temporary.stat().st_mode & 0o777 == 0o700
    assert "a" in open_store(store.location)
    store.close()
    assert not store.temporary.exists()
    with pytest.raises(StoreUnavailable):
        store.put(kept("a"))
    assert not store.temporary.exists()


def test_a_full_disk_is_not_available_and_loses_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path / "graphs.sqlite")
    store.put(kept("a"))
    with store._database.reading() as connection:  # the one connection that there is, as long as one thread uses it
        connection.exec_driver_sql("PRAGMA max_page_count = 10")  # as a disk with room for ten pages
    with pytest.raises(StoreUnavailable):
        store.put(kept("b", 10**6))
    assert "a" in store
    assert "b" not in store


def test_a_file_that_is_damaged_while_it_is_used_is_not_available(tmp_path: Path) -> None:
    store = open_store(tmp_path / "graphs.sqlite")
    for name in "abc":
        store.put(kept(name, 10_000))
    store.close()
    path = tmp_path / "graphs.sqlite"
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 20_000)
    damaged = open_store(path)
    for work in (lambda: damaged.get("a"), lambda: damaged.delete("a"), damaged.usage, lambda: "a" in damaged):
        with pytest.raises(StoreUnavailable, match="log"):
            work()


def test_a_folder_that_cannot_be_made_is_not_available(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    store = open_store()
    with pytest.raises(StoreUnavailable):
        store.put(kept("a"))
