"""The store of registered graphs, in each kind of database: used by several, within quotas, and never a traceback."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, delete

from app.errors import OverQuota, QuotaExceeded, StoreUnavailable, TimedOut
from app.graphs.expiry import Expiry
from app.graphs.store.database import Database
from app.graphs.store.store import Owner, Store, StoredGraph, StoreUsage
from app.graphs.store.tables import GRAPHS
from app.settings import Settings
from tests.serving import CHECKOUT, PATIENCE_S


def kept(name: str, size: int = 10) -> StoredGraph:
    return StoredGraph(name, b"t" * size, b"d" * size)


Open = Callable[..., Store]


@contextmanager
def writing(location: str) -> Iterator[Connection]:
    """Write to the store's database, as another process does."""
    database = Database(location)
    try:
        with database.writing() as connection:
            yield connection
    finally:
        database.close()


@pytest.fixture
def opened(location: str) -> Iterator[Open]:
    """Give a function that opens the store, as one more process does that uses it."""
    stores = []

    def another(**settings: Any) -> Store:
        stores.append(Store(Settings(store=location, **settings)))
        return stores[-1]

    yield another
    for store in stores:
        store.close()


class Clock:
    """The time that stores see."""

    def __init__(self) -> None:
        self.now = 1.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1.8e9 + self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("app.graphs.store.store.time", clock)
    return clock


def together(*work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=part) for part in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_what_is_put_is_there_until_it_is_deleted(opened: Open) -> None:
    store = opened()
    created, new = store.put(kept("a"))
    assert new
    assert "a" in store
    found = store.get("a")
    assert found == StoredGraph("a", b"t" * 10, b"d" * 10, created)
    assert store.usage() == StoreUsage(graphs=1, bytes=20)
    assert store.delete("a")
    assert not store.delete("a")
    assert "a" not in store
    assert store.get("a") is None
    assert store.usage() == StoreUsage(graphs=0, bytes=0)


def test_what_is_put_twice_is_new_once(opened: Open) -> None:
    store = opened()
    created, _ = store.put(kept("a"))
    assert store.put(kept("a")) == (created, False)
    assert store.usage().graphs == 1


def test_all_bytes_come_back(opened: Open) -> None:
    graph = StoredGraph("a", bytes(range(256)), bytes(range(255, -1, -1)) * 5000)
    opened().put(graph)
    found = opened().get("a")
    assert found is not None
    assert (found.text, found.data) == (graph.text, graph.data)


@pytest.mark.parametrize("graph_id", ["", "b", "\0", "a\0", "é", "\ud800", "a" * 100_000])
def test_an_id_that_nothing_has_is_not_there(opened: Open, graph_id: str) -> None:
    store = opened()
    store.put(kept("a"))
    assert graph_id not in store
    assert store.get(graph_id) is None
    assert not store.delete(graph_id)


def test_of_many_who_put_the_same_at_once_one_is_first(opened: Open) -> None:
    stores = [opened() for _ in range(4)]
    start, found = threading.Barrier(8), []

    def put(store: Store) -> None:
        start.wait()
        found.append(store.put(kept("a"))[1])

    together(*[lambda store=stores[index % 4]: put(store) for index in range(8)])
    assert sorted(found) == [False] * 7 + [True]


def test_a_deletion_is_seen_by_others_within_a_second(opened: Open, clock: Clock) -> None:
    one, other = opened(), opened()
    assert "a" not in other
    one.put(kept("a"))
    assert "a" in other
    assert "a" in one
    other.delete("a")
    assert "a" not in other
    assert other.get("a") is None
    assert "a" in one
    assert one.is_known("a")
    clock.now += 1.001
    assert not one.is_known("a")
    assert "a" not in one


def test_what_is_known_is_not_looked_up(opened: Open, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened()
    store.put(kept("a"))
    assert "a" in store
    monkeypatch.setattr(Database, "reading", None)
    clock.now += 0.999
    assert "a" in store
    monkeypatch.undo()


def test_a_lookup_that_a_deletion_overtakes_is_not_believed(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened()
    store.put(kept("a"))
    reading = store._database.reading

    @contextmanager
    def overtaken() -> Iterator[Connection]:
        monkeypatch.undo()
        with reading() as connection:
            yield connection
        assert store.delete("a")

    monkeypatch.setattr(store._database, "reading", overtaken)
    assert "a" in store
    assert not store.is_known("a")
    assert "a" not in store


def test_what_is_believed_to_exist_is_bounded(opened: Open) -> None:
    store = opened(max_graphs=3)
    for name in "abcdefgh":
        store.put(kept(name))
        assert name in store
        assert len(store._found_until) <= 3
        store.delete(name)


def test_it_outlives_who_opened_it(opened: Open) -> None:
    first = opened()
    first.put(kept("a"))
    first.close()
    assert "a" in opened()


@pytest.mark.parametrize(
    ("limits", "detail"), [({"max_graphs": 2}, "2 graphs"), ({"max_store_bytes": 59}, "40 of 59 bytes")]
)
def test_beyond_a_quota_graphs_are_refused_and_none_is_forgotten(
    opened: Open, limits: dict[str, Any], detail: str
) -> None:
    store = opened(**limits, retry_after_s=7)
    store.put(kept("a"))
    store.put(kept("b"))
    with pytest.raises(OverQuota, match=detail) as refused:
        store.put(kept("c"))
    assert refused.value.status == 429
    assert refused.value.headers == {"Retry-After": "7"}
    assert store.put(kept("a"))[1] is False
    store.delete("a")
    assert store.put(kept("c"))[1]
    assert store.usage() == StoreUsage(graphs=2, bytes=40)


@pytest.mark.parametrize("limits", [{"max_graphs": 5}, {"max_store_bytes": 100}])
def test_a_quota_is_exact_however_many_put_at_once(opened: Open, limits: dict[str, Any]) -> None:
    stores = [opened(**limits) for _ in range(4)]
    start, refused = threading.Barrier(8), []

    def put(index: int) -> None:
        start.wait()
        for name in "ab":
            try:
                stores[index % 4].put(kept(f"{name}{index}"))
            except OverQuota:
                refused.append(name)

    together(*[lambda index=index: put(index) for index in range(8)])
    assert stores[0].usage() == StoreUsage(graphs=5, bytes=100)
    assert len(refused) == 11


def test_readers_do_not_wait_for_who_writes(opened: Open, location: str) -> None:
    store = opened()
    store.put(kept("a"))
    with writing(location):
        assert "a" in store
        assert store.get("a") is not None
        assert "a" in opened()
        assert store.usage().graphs == 1


def test_a_database_that_stays_locked_is_not_available(
    opened: Open, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in "sqlite", "postgresql":
        monkeypatch.setattr(f"app.graphs.store.{kind}.BUSY_S", 0.01)
    store = opened()
    store.put(kept("a"))
    with writing(location):
        with pytest.raises(StoreUnavailable) as refused:
            store.put(kept("b"))
        with pytest.raises(StoreUnavailable):
            store.delete("a")
    assert refused.value.status == 503
    assert refused.value.headers == {"Retry-After": "1"}
    assert store.put(kept("b"))[1]


def test_a_table_that_is_gone_is_not_available(opened: Open, location: str) -> None:
    store = opened()
    store.put(kept("a"))
    with writing(location) as connection:
        connection.exec_driver_sql("DROP TABLE graphs")
    calls = (lambda: store.get("a"), lambda: store.delete("a"), store.usage, lambda: "a" in store)
    for work in (*calls, lambda: store.put(kept("b"))):
        with pytest.raises(StoreUnavailable, match="log"):
            work()


def test_many_who_open_a_new_store_at_once_make_one(opened: Open) -> None:
    stores = [opened() for _ in range(6)]
    start = threading.Barrier(6)

    def check(store: Store) -> None:
        start.wait()
        store.check()
        store.put(kept("a"))

    together(*[lambda store=store: check(store) for store in stores])
    assert stores[0].usage().graphs == 1


_FORKING = """
import os, sys
from app.settings import Settings
from app.graphs.store.store import StoredGraph, Store
store = Store(Settings(store=sys.argv[1]))
store.put(StoredGraph("parent", b"t", b"d"))
children = []
for index in range(4):
    child = os.fork()
    if not child:
        for turn in range(20):
            store.put(StoredGraph(f"{index}-{turn}", b"t", b"d"))
            assert store.get("parent") is not None
        os._exit(0)
    children.append(child)
for turn in range(20):
    store.put(StoredGraph(f"parent-{turn}", b"t", b"d"))
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
store.put(StoredGraph("last", b"t", b"d"))
print(store.usage().graphs)
"""


def test_forked_processes_open_it_anew(location: str, opened: Open) -> None:
    command = [sys.executable, "-c", _FORKING, location]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "102\n"), done.stderr
    assert opened().usage().graphs == 102


def test_a_graph_is_its_owners_alone_and_goes_with_the_last(opened: Open, clock: Clock) -> None:
    store, other = opened(), opened()
    assert store.put(kept("a"), Owner("one"))[1]
    created, new = store.put(kept("a"), Owner("two"))
    assert new
    assert store.put(kept("a"), Owner("two")) == (created, False)
    assert store.usage().graphs == 1
    assert [store.has("a", name) for name in ("one", "two", "three")] == [True, True, False]
    assert store.created("a", "two") == created
    assert store.created("a", "three") is None
    assert not store.delete("a", "three")
    assert other.has("a", "one")
    assert store.delete("a", "one")
    assert not store.delete("a", "one")
    assert [store.has("a", name) for name in ("one", "two")] == [False, True]
    assert store.get("a") is not None
    assert other.is_known("a", "one")
    clock.now += 1.001
    assert not other.has("a", "one")
    assert store.delete("a", "two")
    assert store.get("a") is None
    assert store.usage() == StoreUsage(graphs=0, bytes=0)


def test_a_graph_without_owner_is_nobody_s_until_somebody_registers_it(opened: Open) -> None:
    store = opened()
    store.put(kept("a"))
    assert not store.has("a", "one")
    assert not store.delete("a", "one")
    assert store.put(kept("a"), Owner("one"))[1]
    assert store.has("a", "one")
    assert store.has("a")
    assert store.delete("a")
    assert not store.has("a", "one")
    store.put(kept("a"))
    assert not store.has("a", "one")


def test_rows_of_an_older_release_s_deletion_own_nothing(opened: Open, location: str) -> None:
    store = opened()
    store.put(kept("a"), Owner("one"))
    with writing(location) as connection:
        connection.execute(delete(GRAPHS))
    assert not store.has("a", "one")
    store.put(kept("a"), Owner("two"))
    assert not store.has("a", "one")
    assert store.has("a", "two")


@pytest.mark.parametrize(
    ("limits", "name", "left"),
    [({"max_graphs": 2}, '"graphs";q=2', '"graphs";r=0'), ({"max_bytes": 50}, '"bytes";q=50', '"bytes";r=10')],
)
def test_an_owner_has_a_quota(opened: Open, limits: dict[str, int], name: str, left: str) -> None:
    store, one = opened(), Owner("one", **limits)
    for graph in "ab":
        store.put(kept(graph), one)
    store.put(kept("c"), Owner("two"))
    with pytest.raises(QuotaExceeded) as refused:
        store.put(kept("c"), one)
    headers = refused.value.headers
    assert (headers["RateLimit-Policy"], headers["RateLimit"], headers["Retry-After"]) == (name, left, "1")
    assert store.put(kept("a"), one)[1] is False
    store.delete("a", "one")
    assert store.put(kept("c"), one)[1]


def test_graphs_that_nobody_calls_expire(opened: Open, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.graphs.expiry.time", clock)
    store, other = opened(), opened()
    for name in "abc":
        store.put(kept(name), Owner("one"))
    assert store.has("a", "one")
    expiry, others = Expiry(store, 100), Expiry(other, 100)
    clock.now += 90
    expiry.note("b")
    expiry.note("nothing")
    others.note("c")
    others.stop()
    others.write()
    expiry.expire(100)
    assert store.usage().graphs == 3
    clock.now += 20
    expiry.expire(100)
    assert [store.has(name, "one") for name in "abc"] == [False, True, True]
    assert not store.is_known("a", "one")
    assert store.put(kept("a"), Owner("one"))[1]
    clock.now += 90
    expiry.note("a")
    expiry.expire(100)
    assert [name in store for name in "abc"] == [True, False, False]


def test_calls_are_kept_while_the_store_fails(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened()
    store.put(kept("a"))
    expiry = Expiry(store, 100)
    expiry.note("a")
    with monkeypatch.context() as broken:
        broken.setattr(Database, "writing", broken_writing)
        expiry.expire(-100)
    assert expiry.write()
    assert "a" in store


def broken_writing(_: Database) -> None:
    raise OSError("no disk")


def test_without_a_time_nothing_expires(opened: Open) -> None:
    store = opened()
    expiry = Expiry(store, None)
    expiry.note("a")
    expiry.start()
    expiry.stop()
    assert store.temporary is None


def test_nothing_is_written_after_the_deadline(location: str) -> None:
    store = Store(Settings(store=location))
    passed = time.monotonic() - 1
    with pytest.raises(TimedOut):
        store.put(kept("a"), deadline=passed)
    assert store.usage().graphs == 0
    store.put(kept("a"), deadline=passed + PATIENCE_S)
    with pytest.raises(TimedOut):
        store.delete(kept("a").id, deadline=passed)
    assert store.usage().graphs == 1
