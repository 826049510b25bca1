"""The store as a PostgreSQL database: which it takes, and that a call of it ends whatever the server does."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from structlog.testing import capture_logs

from app.errors import StoreUnavailable
from app.graphs.store.store import Owner, Store
from app.graphs.store.tables import VERSION, UnusableStore
from app.main import create_app
from app.routes.examples.registered import CALLS_OF_LAYER, GRAPHS
from app.settings import Settings
from tests.app.client import client_of
from tests.app.graphs.postgres import Cluster
from tests.app.graphs.test_graphs import register
from tests.app.graphs.test_store import kept

pytestmark = pytest.mark.postgres


@pytest.fixture
def store(cluster: Cluster) -> Iterator[Store]:
    store = Store(Settings(store=cluster.store()))
    yield store
    store.close()


def test_a_table_of_another_program_is_refused(cluster: Cluster, store: Store) -> None:
    schema = store.location.rpartition("%3D")[2]
    cluster.execute(f"CREATE TABLE {schema}.graphs (id TEXT)")
    with pytest.raises(UnusableStore, match="another program's table `graphs`"):
        store.check()


def test_tables_of_a_later_release_are_refused(cluster: Cluster, store: Store) -> None:
    store.check()
    schema = store.location.rpartition("%3D")[2]
    cluster.execute(f"COMMENT ON TABLE {schema}.graphs IS 'gradd {VERSION + 1}'")
    later = Store(Settings(store=store.location))
    with pytest.raises(UnusableStore, match=f"has the format {VERSION + 1}, and this release reads {VERSION}"):
        later.check()
    later.close()


def test_tables_of_format_1_are_upgraded(cluster: Cluster, store: Store) -> None:
    store.check()
    store.put(kept("a"))
    schema = store.location.rpartition("%3D")[2]
    cluster.execute(f"DROP TABLE {schema}.graph_owners, {schema}.graph_calls")
    cluster.execute(f"COMMENT ON TABLE {schema}.graphs IS 'gradd 1'")
    for _ in range(2):
        later = Store(Settings(store=store.location))
        assert "a" in later
        later.put(kept("a"), Owner("one"))
        assert later.has("a", "one")
        later.close()


def test_other_tables_do_not_matter(cluster: Cluster, store: Store) -> None:
    cluster.execute(f"CREATE TABLE {store.location.rpartition('%3D')[2]}.accounts (name TEXT)")
    store.check()
    assert store.put(kept("a"))[1]


@pytest.mark.parametrize("host", ["127.0.0.1:1", "no-such-host.invalid"])
def test_a_server_that_is_not_there_is_a_warning_at_the_start(host: str) -> None:
    with closing(Store(Settings(store=f"postgresql+psycopg://gradd:secret@{host}/graphs?password=hidden"))) as store:
        shown = store.check()
        assert shown.startswith(f"The store postgresql+psycopg://gradd:***@{host}/graphs does not answer: ")
        assert not {"secret", "hidden", "\n"} & {*shown.split(), *shown}
        with pytest.raises(StoreUnavailable):
            store.put(kept("a"))


def test_a_server_that_refuses_the_client_is_refused_at_the_start_in_one_line(cluster: Cluster, store: Store) -> None:
    other = cluster.url.replace("/postgres?", "/no_such_database?")
    with (
        closing(Store(Settings(store=other))) as refused,
        pytest.raises(UnusableStore, match="does not exist") as found,
    ):
        refused.check()
    assert "\n" not in str(found.value)


def test_a_server_that_comes_later_is_used_then(cluster: Cluster, store: Store) -> None:
    cluster.stop()
    try:
        assert "does not answer" in store.check()
        with pytest.raises(StoreUnavailable):
            store.put(kept("a"))
    finally:
        cluster.start()
    assert store.put(kept("a"))[1]


def test_a_server_that_restarts_is_found_again(cluster: Cluster, store: Store) -> None:
    store.put(kept("a"))
    cluster.stop()
    with pytest.raises(StoreUnavailable), capture_logs() as lines:
        store.get("a")
    assert [line["event"] for line in lines] == ["store failed"]
    cluster.start()
    assert store.get("a") is not None
    assert store.put(kept("b"))[1]


def test_a_server_that_says_nothing_is_given_up(
    cluster: Cluster, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.graphs.store.postgresql._SILENCE_S", 0.2)
    store.put(kept("a"))
    with cluster.frozen():
        for work in (lambda: store.get("a"), lambda: store.put(kept("b")), store.usage):
            with pytest.raises(StoreUnavailable):
                work()
    assert store.get("a") is not None


def test_a_call_ends_at_its_deadline_although_the_server_says_nothing(cluster: Cluster) -> None:
    location = cluster.store()
    with client_of(create_app(Settings(store=location))) as patient:
        path = f"/v1/graphs/{register(patient, GRAPHS['layer']['value'])}"
    with client_of(create_app(Settings(store=location, timeout_ms=300, concurrency=1))) as client:
        with cluster.frozen():
            for method, where, body in (("GET", path, None), ("POST", f"{path}/gradients", {}), ("DELETE", path, None)):
                reply = client.request(method, where, json=body)
                assert (reply.status_code, reply.json()["code"]) == (504, "deadline_exceeded")
            assert client.get("/health/ready").status_code == 200
            assert "gradd_store_bytes" not in client.get("/metrics").text
        while client.get(path).status_code == 504:
            pass
        assert client.get(path).status_code in {200, 404}  # the deletion may have happened after its deadline
        for pool in (client.services.pool, client.services.lookups):
            pool._executor.shutdown()  # their connections are closed before the store is


def test_workers_read_it_too(cluster: Cluster) -> None:
    with client_of(create_app(Settings(store=cluster.store(), concurrency=1, inline_ms=0))) as client:
        path = f"/v1/graphs/{register(client, GRAPHS['layer']['value'])}/gradients"
        reply = client.post(path, CALLS_OF_LAYER["gradients"]["sample"]["value"])
        assert reply.status_code == 200, reply.text
        assert "elsewhere" in reply.headers["server-timing"]
