"""A request whose deadline passes is answered with 504 and ends, also where its kernel never looks at the clock."""

import gzip
from dataclasses import replace
from typing import Any

import msgpack
import orjson
import pytest
import zstandard

from app.evaluation.evaluator import Call, Evaluator, Observer
from app.main import create_app
from app.settings import Settings
from app.wire.codec import CODECS
from tests.app.bodies import op, request, sum_of_exp, wanted
from tests.app.client import Client, client_of
from tests.promises.conftest import Faulty
from tests.promises.planted import SEEDS


def answered(client: Client) -> bool:
    """Post a small request until it meets no deadline, as it may while the machine is busy; whether it succeeds."""
    while (reply := client.post("/v1/gradients", sum_of_exp())).status_code == 504:
        pass
    return reply.status_code == 200


def test_a_stuck_kernel_is_ended_by_the_servers_deadline(faulty: Faulty) -> None:
    with faulty(timeout_ms=2000) as client:
        reply = client.post("/v1/gradients", sum_of_exp(seed=SEEDS["hang"]))
        assert (reply.status_code, reply.json()["code"]) == (504, "deadline_exceeded")
        assert answered(client)


def test_a_long_kernel_is_ended_by_the_requests_own_deadline(faulty: Faulty) -> None:
    size = 6000  # one decomposition of this size takes minutes
    graph = request(
        {"x": wanted(1.0)},
        op("expand", ["x"], "wide", attributes={"size": [size, size]}),
        op("cumsum", ["wide"], "rows", attributes={"dim": 1}),
        op("sin", ["rows"], "matrix"),
        op("linalg.svdvals", ["matrix"], "values"),
        op("sum", ["values"], "loss"),
        timeout_ms=1500,
    )
    with faulty(max_memory_bytes=2**36) as client:
        reply = client.post("/v1/forward", graph)
        assert (reply.status_code, reply.json()["code"]) == (504, "deadline_exceeded")
        assert client.post("/v1/gradients", sum_of_exp()).status_code == 200


def test_waiting_for_a_worker_ends_at_the_deadline_too(faulty: Faulty) -> None:
    with faulty(timeout_ms=2000) as client:
        stuck = ("POST", "/v1/gradients", {"json": sum_of_exp(seed=SEEDS["hang"])})
        assert [reply.status_code for reply in client.together([stuck] * 3)] == [504] * 3
        assert answered(client)


LONG: dict[str, Any] = {
    "reading values": {"graph": {"tensors": {"x": [0.5] * 2_000_000 + ["NaN"]}, "ops": []}},
    "finding faults": {"graph": {"tensors": {"x": [[1]] * 1_000_000 + [[1, 2]]}, "ops": []}},
    "planning": request({"x": 1.0}, *[op("sin", [f"s{i}" if i else "x"], f"s{i + 1}") for i in range(50_000)]),
    "writing the reply": request(
        {"x": 1.0}, op("expand", ["x"], "y", attributes={"size": [100_000, *[1] * 31]}), dag=False
    ),
}


@pytest.mark.parametrize("phase", LONG)
def test_the_requests_own_deadline_holds_in_every_phase(phase: str) -> None:
    with client_of(create_app(Settings(concurrency=1, timeout_ms=600_000))) as client:
        reply = client.post("/v1/forward", LONG[phase] | {"timeout_ms": 20})
        assert (reply.status_code, reply.json()["code"]) == (504, "deadline_exceeded")


class Due(Exception):
    """The deadline is known."""


class Noting(Observer):
    """Stops the request once its own deadline is known."""

    def due(self, deadline: float | None) -> None:
        if deadline is not None:
            raise Due


@pytest.mark.parametrize("media_type", CODECS)
def test_the_deadline_of_a_long_body_is_known_before_it_is_decoded(
    media_type: str,
) -> None:
    tree = {"graph": {"tensors": {"x": [1] * 100_000}, "ops": []}, "timeout_ms": 100}
    codec = CODECS[media_type]
    body = msgpack.packb(tree) if media_type.endswith("msgpack") else orjson.dumps(tree)

    def read(*arguments: Any) -> Any:
        raise AssertionError("the body was decoded first")

    with pytest.raises(Due):
        Evaluator(Settings()).answer(Call("forward", body, replace(codec, read=read)), None, Noting())


@pytest.mark.parametrize("coding", ["zstd", "gzip", "empty frames"])
def test_the_servers_deadline_ends_decompression(coding: str) -> None:
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(b"")
    bodies = {
        "zstd": zstandard.ZstdCompressor().compress(bytes(2**27)),
        "gzip": gzip.compress(bytes(2**27)),
        "empty frames": frame * (2**26 // len(frame)),
    }
    name = "gzip" if coding == "gzip" else "zstd"
    with client_of(create_app(Settings(concurrency=1, timeout_ms=50))) as client:
        reply = client.post("/v1/forward", bodies[coding], headers={"content-encoding": name})
    assert (reply.status_code, reply.json()["code"]) == (504, "deadline_exceeded")


def test_the_requests_deadline_ends_the_compression_of_its_reply() -> None:
    graph = request(
        {"x": 1.0},
        op("expand", ["x"], "y", attributes={"size": [16_000_000]}),
        op("cumsum", ["y"], "z", attributes={"dim": 0}),
        op("sin", ["z"], "s"),
        outputs=["s"],
        encoding="base64",
        timeout_ms=1500,
    )
    with client_of(create_app(Settings(concurrency=1, timeout_ms=600_000))) as client:
        reply = client.post("/v1/forward", graph, headers={"accept-encoding": "gzip, identity;q=0"})
        assert (reply.status_code, reply.json()["code"]) == (504, "deadline_exceeded")


LARGE = {"graph": {"tensors": {f"x{index}": [1.0] for index in range(3000)}, "ops": [op("exp", ["x0"], "y")]}}
"""A graph that takes some tenths of a second to register."""


def test_a_large_registration_ends_at_its_deadline_with_its_worker(faulty: Faulty) -> None:
    with faulty(timeout_ms=20) as client:
        late = client.post("/v1/graphs", LARGE)
        assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")
        client.until(lambda: client.services.dispatcher.workers.busy == 0)
        assert client.services.store.usage().graphs == 0


def test_a_large_registration_is_read_by_a_worker(faulty: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a thread cannot be ended")

    monkeypatch.setattr("app.routes.graphs.registration.read", never)
    with faulty() as client:
        first, again = (client.post("/v1/graphs", LARGE) for _ in range(2))
        assert (first.status_code, again.status_code) == (201, 200)
        assert client.post(f"/v1/graphs/{first.json()['id']}/forward", {}).status_code == 200
        refused = client.post("/v1/graphs", {"graph": {**LARGE["graph"], "ops": [op("expp", ["x0"], "y")]}})
        assert refused.json()["errors"][0]["code"] == "unknown_op"
