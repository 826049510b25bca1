"""The metrics count workers, the calls that wait for them, the reasons of their ends, and what their caches keep."""

import asyncio
import re
from collections.abc import Callable

import pytest

from app.workers.pool import ENDINGS
from tests.app.bodies import sum_of_exp
from tests.app.client import Client
from tests.promises.conftest import Faulty
from tests.promises.planted import SEEDS


def value(client: Client, name: str) -> float:
    """Return the value of a metric with its labels."""
    text = client.get("/metrics").text
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    assert found is not None, f"{name} is not in\n{text}"
    return float(found[1])


def restarts(client: Client) -> dict[str, float]:
    """Return the replaced workers by reason, without zeros."""
    counts = {name: value(client, f'gradd_worker_restarts_total{{reason="{name}"}}') for name in ENDINGS}
    return {name: count for name, count in counts.items() if count}


def crash(client: Client) -> None:
    assert client.post("/v1/gradients", sum_of_exp(seed=SEEDS["abort"])).status_code == 503


def be_killed_idle(client: Client) -> None:
    workers = client.services.dispatcher.workers
    before = workers._idle[0]
    workers._command(before.number)
    client.until(lambda: workers._idle[0] is not before)


def pass_the_deadline(client: Client) -> None:
    assert client.post("/v1/gradients", sum_of_exp(seed=SEEDS["hang"], timeout_ms=300)).status_code == 504


def leave(client: Client) -> None:
    client.leaving("/v1/gradients", sum_of_exp(seed=SEEDS["hang"]))


def need_memory(client: Client) -> None:
    assert client.post("/v1/gradients", sum_of_exp(seed=SEEDS["hoard"])).status_code == 503


def lose_the_fork_server(client: Client) -> None:
    workers = client.services.dispatcher.workers
    before = workers._fork_server
    assert before is not None
    before.process.kill()
    client.until(lambda: workers._fork_server not in {before, None} and workers.alive == 1)


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (crash, "crash"),
        (be_killed_idle, "crash"),
        (pass_the_deadline, "deadline"),
        (leave, "client_gone"),
        (need_memory, "memory"),
        (lose_the_fork_server, "fork_server"),
    ],
)
def test_a_replaced_worker_is_counted_once_by_its_reason(
    faulty: Faulty, end: Callable[[Client], None], reason: str
) -> None:
    with faulty(worker_memory_bytes=2**30) as client:
        assert restarts(client) == {}
        end(client)
        assert restarts(client) == {reason: 1}
        assert client.post("/v1/gradients", sum_of_exp()).status_code == 200
        client.until(lambda: client.services.dispatcher.workers.alive == 1)
        assert restarts(client) == {reason: 1}


def test_workers_and_the_calls_that_wait_for_them_are_counted(faulty: Faulty) -> None:
    with faulty(concurrency=2) as client:
        workers = client.services.dispatcher.workers
        names = ("gradd_workers", "gradd_workers_alive", "gradd_workers_busy", "gradd_worker_queue")
        seen: list[list[float]] = []

        async def compute(calls: int) -> None:
            release = asyncio.Event()

            async def call() -> None:
                async with workers.acquire(None):
                    await release.wait()

            running = [asyncio.ensure_future(call()) for _ in range(calls)]
            await asyncio.sleep(0)
            text = client.services.metrics.exposition().decode()
            seen.append([float(re.findall(rf"^{name} (\S+)$", text, re.MULTILINE)[0]) for name in names])
            release.set()
            await asyncio.gather(*running)

        for calls in (0, 1, 2, 5):
            client._runner.run(compute(calls))
        assert seen == [[2, 2, 0, 0], [2, 2, 1, 0], [2, 2, 2, 0], [2, 2, 2, 3]]
        assert value(client, "gradd_worker_wait_seconds_count") == 8
        assert value(client, "gradd_worker_queue") == 0


def cached(client: Client, kind: str, process: str, labels: str = "") -> float:
    return value(client, f'gradd_cache_{kind}{{cache="plans",{labels}process="{process}"}}')


def test_the_caches_of_workers_are_counted_also_those_of_workers_that_ended(faulty: Faulty) -> None:
    with faulty() as client:
        for _ in range(3):
            client.post("/v1/gradients", sum_of_exp())
        assert cached(client, "entries", "workers") == 1
        assert cached(client, "bytes", "workers") > 100
        assert cached(client, "entries", "server") == 0
        crash(client)
        client.post("/v1/gradients", sum_of_exp())
        assert cached(client, "entries", "workers") == 1
        assert cached(client, "lookups_total", "workers", 'found="hit",') == 2
        assert cached(client, "lookups_total", "workers", 'found="miss",') == 2


def test_the_caches_of_the_server_are_counted(faulty: Faulty) -> None:
    with faulty(inline_ms=1000) as client:
        for _ in range(3):
            client.post("/v1/gradients", sum_of_exp())
        assert cached(client, "entries", "server") == 1
        assert cached(client, "lookups_total", "server", 'found="hit",') == 2
        assert cached(client, "lookups_total", "server", 'found="miss",') == 1
