"""Concurrent requests of every kind are answered with the same bytes as the same requests sent alone.

`make test` sends a few hundred; `make fuzz` sends 10,000.
"""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from urllib.parse import urlsplit

import orjson

from tests.app.http.test_server import serving
from tests.promises import traffic
from tests.promises.sending import Address, Reply, concurrent, sequential
from tests.promises.traffic import Message, Registered

COUNT = 300
CONNECTIONS = 24
ROUNDS = 6
"""Rounds of requests of which at least one must leave no more descriptors open than the round before."""


def register(address: Address, count: int) -> list[Registered]:
    """Register random graphs and return them."""
    graphs = [traffic.registration(random.Random(seed)) for seed in range(count)]
    messages = [Message("register", "/v1/graphs", orjson.dumps({"graph": graph})) for graph in graphs]
    replies = asyncio.run(sequential(address, messages))
    assert {reply.status for reply in replies} <= {200, 201}
    return [Registered(orjson.loads(reply.body)["id"], graph) for reply, graph in zip(replies, graphs, strict=True)]


def descriptors(process: int) -> int:
    """Return the number of descriptors that a process has open."""
    return len(list(Path(f"/proc/{process}/fd").iterdir()))


def compare(count: int) -> None:
    """Send random requests alone and then concurrently, and compare the replies and the open descriptors."""
    with serving(concurrency=2, log_level="warning", timeout_ms=600_000) as (process, words):
        url = urlsplit(words[1])
        address = (str(url.hostname), int(url.port or 0))
        graphs = register(address, 8)
        messages = [traffic.message(seed, graphs) for seed in range(count)]
        alone = asyncio.run(sequential(address, messages))
        assert {reply.status for reply in alone} == {200, 400, 404, 415, 422}
        check_same(address, messages, alone)
        before = settled_descriptors(process.pid)
        for _ in range(ROUNDS):  # until the pools of database connections and of shared memory are full
            check_same(address, messages[:300], alone)
            after = settled_descriptors(process.pid)
            if after <= before:
                return
            before = after
        raise AssertionError(f"each round leaves descriptors open: {before}")


def settled_descriptors(process: int) -> int:
    """Return how many descriptors are open once the server has closed the connections that its clients closed."""
    found, again = descriptors(process), -1
    while found != again:
        time.sleep(0.5)
        found, again = descriptors(process), found
    return found


def check_same(address: Address, messages: list[Message], alone: list[Reply]) -> None:
    """Send requests concurrently in another order, and assert that their replies are those of `alone`."""
    order = random.Random(7).sample(range(len(messages)), len(messages))
    mixed = asyncio.run(concurrent(address, [messages[index] for index in order], CONNECTIONS))
    different = [
        (index, messages[index].kind, alone[index], reply)
        for index, reply in zip(order, mixed, strict=True)
        if reply != alone[index]
    ]
    assert not different, (len(different), different[0])


def test_concurrent_requests_do_not_mix() -> None:
    compare(COUNT)
