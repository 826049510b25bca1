"""The store of registered graphs: one SQLite file, used by several, within quotas, and never a traceback."""

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from app.errors import OverQuota, StoreUnavailable
from app.settings import Settings
from app.store import APPLICATION, VERSION, Kept, Store, UnusableStore, Usage


def kept(name: str, size: int = 10) -> Kept:
    return Kept(name, b"t" * size, b"d" * size)


def open_store(path: Path | None = None, **settings: Any) -> Store:
    return Store(Settings(store=path, **settings))


def test_what_is_put_is_there_until_it_is_deleted(tmp_path: Path) -> None:
    store = open_store(tmp_path / "graphs.sqlite")
    created, new = store.put(kept("a"))
    assert new
    assert "a" in store
    found = store.get("a")
    assert found == Kept("a", b"t" * 10, b"d" * 10, created)
    assert store.usage() == Usage(graphs=1, bytes=20)
    assert store.delete("a")
    assert not store.delete("a")
    assert "a" not in store
    assert store.get("a") is None
    assert store.usage() == Usage(graphs=0, bytes=0)


def test_what_is_put_twice_is_new_once(tmp_path: Path) -> None:
    store = open_store(tmp_path / "graphs.sqlite")
    created, _ = store.put(kept("a"))
    assert store.put(kept("a")) == (created, False)
    assert store.usage().graphs == 1


def test_of_many_who_put_the_same_at_once_one_is_first(tmp_path: Path) -> None:
    stores = [open_store(tmp_path / "graphs.sqlite") for _ in range(4)]
    start, found = threading.Barrier(8), []

    def put(store: Store) -> None:
        start.wait()
        found.append(store.put(kept("a"))[1])

    threads = [threading.Thread(target=put, args=(stores[index % 4],)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [False] * 7 + [True]


def test_what_one_does_all_others_see(tmp_path: Path) -> None:
    one, other = (open_store(tmp_path / "graphs.sqlite") for _ in range(2))
    assert "a" not in other
    one.put(kept("a"))
    assert "a" in other
    other.delete("a")
    assert "a" not in one


def test_it_outlives_who_opened_it(tmp_path: Path) -> None:
    first = open_store(tmp_path / "graphs.sqlite")
    first.put(kept("a"))
    first.close()
    assert "a" in open_store(tmp_path / "graphs.sqlite")


def test_without_a_path_it_goes_with_its_owner() -> None:
    store = open_store()
    assert not store.path.exists()
    store.put(kept("a"))
    assert store.path.exists()
    assert store.path.parent.stat().st_mode & 0o777 == 0o700
    assert "a" in open_store(store.path)
    store.close()
    assert not store.path.parent.exists()


@pytest.mark.parametrize(
    ("limits", "detail"), [({"max_graphs": 2}, "2 graphs"), ({"max_store_bytes": 59}, "40 of 59 bytes")]
)
def test_beyond_a_quota_graphs_are_refused_and_none_is_forgotten(limits: dict[str, Any], detail: str) -> None:
    store = open_store(**limits, retry_after_s=7)
    store.put(kept("a"))
    store.put(kept("b"))
    with pytest.raises(OverQuota, match=detail) as refused:
        store.put(kept("c"))
    assert refused.value.status == 429
    assert refused.value.headers == {"Retry-After": "7"}
    assert store.put(kept("a"))[1] is False
    store.delete("a")
    assert store.put(kept("c"))[1]
    assert store.usage() == Usage(graphs=2, bytes=40)


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
        (lambda path: path.mkdir(), "unable to open"),
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
    with pytest.raises(UnusableStore, match="unable to open"):
        open_store(tmp_path / "nowhere" / "graphs.sqlite").check()


def locked(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    return connection


def test_readers_do_not_wait_for_who_writes(tmp_path: Path) -> None:
    store = open_store(tmp_path / "graphs.sqlite")
    store.put(kept("a"))
    writer = locked(store.path)
    assert "a" in store
    assert store.get("a") is not None
    writer.close()


def test_a_file_that_stays_locked_is_not_available(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.store._BUSY_S", 0.01)
    store = open_store(tmp_path / "graphs.sqlite")
    store.put(kept("a"))
    writer = locked(store.path)
    with pytest.raises(StoreUnavailable) as refused:
        store.put(kept("b"))
    assert refused.value.status == 503
    assert refused.value.headers == {"Retry-After": "1"}
    writer.close()
    assert store.put(kept("b"))[1]


def test_a_full_disk_is_not_available_and_loses_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path / "graphs.sqlite")
    store.put(kept("a"))
    store._idle[0].execute("PRAGMA max_page_count = 10")  # as a disk with room for ten pages
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
