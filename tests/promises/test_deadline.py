"""A request whose deadline passes is answered with 504 and ends, also where its kernel never looks at the clock."""

from typing import Any

import pytest

from app.main import create_app
from app.settings import Settings
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
