"""/v1/graphs: a graph is registered once, found by its id, and gone when it is deleted."""

import json
import sqlite3
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from app.evaluation.operations import OPERATIONS
from app.main import create_app
from app.routes.examples.registered import CALLS_OF_LAYER, GRAPHS, REGISTERED_ID
from app.settings import Settings
from tests.app.bodies import op, request, sum_of_exp, tensor, wanted
from tests.app.client import Client, client_of
from tests.app.graphs.test_store import Clock

UNKNOWN = "sha256-" + "0" * 64


@pytest.fixture
def fresh() -> Iterator[Client]:
    with client_of(create_app(Settings(concurrency=2))) as client:
        yield client


def register(client: Client, body: Any) -> str:
    reply = client.post("/v1/graphs", body)
    assert reply.status_code in {200, 201}, reply.text
    return str(reply.json()["id"])


def test_a_graph_is_new_once(fresh: Client) -> None:
    first, second = (fresh.post("/v1/graphs", GRAPHS["layer"]["value"]) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert first.json()["id"] == REGISTERED_ID
    assert first.json()["needs"] == ["x", "y"]
    for reply in first, second:
        assert reply.headers["location"] == f"/v1/graphs/{REGISTERED_ID}"
        assert reply.headers["etag"] == f'"{REGISTERED_ID}"'


def test_two_who_register_at_once_get_one_graph(fresh: Client) -> None:
    body = {"json": sum_of_exp()}
    replies = fresh.together([("POST", "/v1/graphs", body)] * 6)
    assert sorted(reply.status_code for reply in replies) == [200] * 5 + [201]
    assert len({reply.json()["id"] for reply in replies}) == 1


def test_a_graph_is_shown_in_its_normal_form(fresh: Client) -> None:
    body = request(
        {"x": {"shape": [None, 2]}, "k": tensor([1, 2], dtype="int8"), "a": wanted([0.5, "NaN"])},
        op("mul", ["x", "a"], "y"),
        dtype="float32",
    )
    shown = fresh.get(f"/v1/graphs/{register(fresh, body)}").json()
    assert shown["needs"] == ["x"]
    assert shown["created"].endswith("Z")
    assert shown["graph"] == {
        "dtype": "float32",
        "tensors": {
            "a": {"dtype": "float32", "shape": [2], "requires_grad": True, "data": [0.5, "NaN"]},
            "k": {"dtype": "int8", "shape": [2], "requires_grad": False, "data": [1, 2]},
            "x": {"dtype": "float32", "shape": [None, 2], "requires_grad": False},
        },
        "ops": [{"op": "mul", "inputs": ["x", "a"], "attributes": {}, "output": "y", "no_grad": False}],
    }


@pytest.mark.parametrize("name", GRAPHS)
def test_what_is_shown_registers_as_the_same_graph(fresh: Client, name: str) -> None:
    shown = fresh.get(f"/v1/graphs/{register(fresh, GRAPHS[name]['value'])}").json()
    again = fresh.post("/v1/graphs", {"graph": shown["graph"]})
    assert (again.status_code, again.json()["id"]) == (200, shown["id"])


def test_what_a_client_has_is_not_sent_again(client: Client) -> None:
    path = f"/v1/graphs/{register(client, GRAPHS['layer']['value'])}"
    tag = f'"{REGISTERED_ID}"'
    full = client.get(path)
    assert full.headers["etag"] == tag
    assert full.headers["cache-control"] == "private, max-age=31536000, immutable"
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        reply = client.get(path, headers={"If-None-Match": known})
        assert (reply.status_code, reply.content) == (304, b"")
        assert reply.headers["etag"] == tag
        assert reply.headers["cache-control"] == full.headers["cache-control"]
    for other in ('"other"', REGISTERED_ID, ""):
        assert client.get(path, headers={"If-None-Match": other}).status_code == 200


def test_a_deleted_graph_is_gone(fresh: Client) -> None:
    path = f"/v1/graphs/{register(fresh, sum_of_exp())}"
    tag = fresh.get(path).headers["etag"]
    reply = fresh.request("DELETE", path)
    assert (reply.status_code, reply.content) == (204, b"")
    for method in ("GET", "HEAD", "DELETE"):
        assert fresh.request(method, path, headers={"If-None-Match": tag}).status_code == 404
    assert fresh.post("/v1/graphs", sum_of_exp()).status_code == 201
    assert fresh.get(path).status_code == 200


@pytest.mark.parametrize("graph_id", [UNKNOWN, "x", "sha256-", "%00", "é", "a" * 5000])
def test_an_unknown_id_is_not_found(client: Client, graph_id: str) -> None:
    for method in ("GET", "DELETE"):
        reply = client.request(method, f"/v1/graphs/{graph_id}")
        assert reply.status_code == 404
        assert "/v1/graphs" in reply.json()["errors"][0]["hint"]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_call_exists_below_a_graph(client: Client, operation: str) -> None:
    path = f"/v1/graphs/{register(client, GRAPHS['layer']['value'])}/{operation}"
    for example in CALLS_OF_LAYER[operation].values():
        body = example["value"]
        assert client.post(path, body).status_code == 200
        graph = {**GRAPHS["layer"]["value"]["graph"]}
        inline = {**body, "graph": {**graph, "tensors": dict(sorted({**graph["tensors"], **body["tensors"]}.items()))}}
        del inline["tensors"]
        assert client.post(path, body).json() == client.post(f"/v1/{operation}", inline).json()


def test_a_call_of_a_deleted_graph_is_not_found_although_it_was_kept_ready(fresh: Client) -> None:
    path = f"/v1/graphs/{register(fresh, sum_of_exp())}"
    assert fresh.post(f"{path}/gradients", {}).status_code == 200
    fresh.request("DELETE", path)
    assert fresh.post(f"{path}/gradients", {}).status_code == 404
    register(fresh, sum_of_exp())
    assert fresh.post(f"{path}/gradients", {"tensors": {"x": [0, 0, 0]}}).json()["outputs"]["s"]["data"] == 3.0


def test_who_shares_the_store_shares_the_graphs(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("app.graphs.store.store.time", clock)
    settings = Settings(store=location)
    with client_of(create_app(settings)) as one, client_of(create_app(settings)) as other:
        path = f"/v1/graphs/{register(one, sum_of_exp())}"
        for client in (one, other):
            assert client.post(f"{path}/forward", {}).status_code == 200
        assert one.request("DELETE", path).status_code == 204
        assert one.post(f"{path}/forward", {}).status_code == 404
        clock.now += 1
        assert other.post(f"{path}/forward", {}).status_code == 404


def test_calls_do_not_wait_for_registrations(fresh: Client) -> None:
    path = f"/v1/graphs/{register(fresh, sum_of_exp())}"
    release = threading.Event()
    for _ in range(fresh.services.settings.concurrency):
        fresh.services.pool._executor.submit(release.wait)
    try:
        assert fresh.post(f"{path}/gradients", {}).status_code == 200
        assert "gradd_graphs 1.0" in fresh.get("/metrics").text
    finally:
        release.set()


@pytest.mark.parametrize("named", [True, False], ids=["a file that is named", "a file of its own"])
def test_a_worker_answers_as_the_event_loop_does(client: Client, tmp_path: Path, named: bool) -> None:
    store = tmp_path / "graphs.sqlite" if named else None
    with client_of(create_app(Settings(concurrency=1, inline_ms=0, store=store))) as working:
        for _ in range(2):
            path = f"/v1/graphs/{register(working, GRAPHS['layer']['value'])}"
            register(client, GRAPHS["layer"]["value"])
            for operation, examples in CALLS_OF_LAYER.items():
                body = examples["batch"]["value"]
                reply = working.post(f"{path}/{operation}", body)
                assert "elsewhere" in reply.headers["server-timing"]
                assert reply.json() == client.post(f"{path}/{operation}", body).json()
            assert working.request("DELETE", path).status_code == 204
            assert working.post(f"{path}/forward", examples["sample"]["value"]).status_code == 404


def test_a_worker_places_the_faults_of_a_call() -> None:
    with client_of(create_app(Settings(concurrency=1, inline_ms=0))) as working:
        path = f"/v1/graphs/{register(working, GRAPHS['layer']['value'])}/gradients"
        errors = working.post(path, {"tensors": {"x": [1, 1, 1, 1, "x"], "z": 1}}).json()["errors"]
        assert [(error["pointer"], error["code"]) for error in errors] == [
            ("#/tensors/z", "unknown_tensor"),
            ("#/tensors/y", "missing_value"),
            ("#/tensors/x/4", "not_a_number"),
        ]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_call_of_an_unknown_graph_is_not_found(client: Client, operation: str) -> None:
    reply = client.post(f"/v1/graphs/{UNKNOWN}/{operation}", {})
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")


def test_packed_values_call_a_graph_too(client: Client) -> None:
    path = f"/v1/graphs/{register(client, request({'x': {'shape': [None]}}, op('exp', ['x'], 'e')))}/forward"
    body = {"tensors": {"x": {"data": bytes(16), "shape": [2]}}}
    both = {"Content-Type": "application/msgpack", "Accept": "application/msgpack"}
    reply = client.post(path, msgpack.packb(body), headers=both)
    assert reply.status_code == 200, reply.text
    found = msgpack.unpackb(reply.content)["outputs"]["e"]
    assert (found["shape"], found["data"]) == ([2], struct.pack("<2d", 1, 1))
    wrong = client.post(path, msgpack.packb({"tensors": {"x": {"data": bytes(8), "shape": [2]}}}), headers=both)
    assert wrong.json()["errors"][0]["pointer"] == "#/tensors/x/data"


def test_a_graph_has_one_id_in_every_media_type(client: Client) -> None:
    written = client.post("/v1/graphs", request({"x": [0.5, 1]}, op("exp", ["x"], "e")))
    packed = request({"x": {"data": struct.pack("<2d", 0.5, 1), "shape": [2]}}, op("exp", ["x"], "e"))
    reply = client.post("/v1/graphs", msgpack.packb(packed), headers={"Content-Type": "application/msgpack"})
    assert reply.json()["id"] == written.json()["id"]
    shown = client.get(reply.headers["location"], headers={"Accept": "application/msgpack"})
    assert msgpack.unpackb(shown.content)["graph"]["tensors"]["x"]["data"] == struct.pack("<2d", 0.5, 1)


def test_over_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    with client_of(create_app(Settings(max_graphs=1, retry_after_s=9))) as client:
        assert client.post("/v1/graphs", sum_of_exp()).status_code == 201
        reply = client.post("/v1/graphs", GRAPHS["layer"]["value"])
        assert (reply.status_code, reply.json()["code"]) == (429, "over_quota")
        assert reply.headers["retry-after"] == "9"
        assert client.post("/v1/graphs", sum_of_exp()).status_code == 200


def test_what_is_registered_is_counted(fresh: Client) -> None:
    graph_id = register(fresh, sum_of_exp())
    for wanted_id in (graph_id, graph_id, UNKNOWN):
        fresh.get(f"/v1/graphs/{wanted_id}")
    counters = fresh.get("/metrics").text.splitlines()
    assert "gradd_graphs 1.0" in counters
    assert 'gradd_graph_lookups_total{found="hit"} 2.0' in counters
    assert 'gradd_graph_lookups_total{found="miss"} 1.0' in counters
    assert any(line.startswith("gradd_store_bytes ") and float(line.split()[1]) > 100 for line in counters)


def test_graphs_outlive_the_server_that_has_a_file(tmp_path: Path) -> None:
    settings = Settings(store=tmp_path / "graphs.sqlite")
    with client_of(create_app(settings)) as client:
        first = client.post("/v1/graphs", sum_of_exp()).json()
    with client_of(create_app(settings)) as client:
        assert client.get(f"/v1/graphs/{first['id']}").json()["created"] == first["created"]


def test_a_store_that_fails_is_not_available(tmp_path: Path) -> None:
    path = tmp_path / "graphs.sqlite"
    with client_of(create_app(Settings(store=path))) as client:
        graph_id = register(client, sum_of_exp())
        with sqlite3.connect(path) as connection:
            connection.execute("DROP TABLE graphs")
        connection.close()
        calls = ("GET", f"/{graph_id}"), ("DELETE", f"/{graph_id}"), ("POST", ""), ("POST", f"/{graph_id}/forward")
        for method, where in calls:
            body = {"content": json.dumps(sum_of_exp())} if method == "POST" else {}
            reply = client.request(method, f"/v1/graphs{where}", **body)
            assert (reply.status_code, reply.json()["code"]) == (503, "store_unavailable")
            assert "retry-after" in reply.headers
            assert str(path) not in reply.text
        assert client.get("/health/ready").status_code == 200
        assert "gradd_requests_total" in client.get("/metrics").text
        assert "gradd_store_bytes" not in client.get("/metrics").text
