"""Processes of a server that is under load are killed or stopped: no reply is wrong, and no process is left.

A reply is that of the same request sent alone, or a problem document with 503 or 504. Afterwards all are answered.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

from tests.app.http.test_server import serving
from tests.promises import traffic
from tests.promises.sending import Address, Connection, Reply, sequential
from tests.promises.soak import ended
from tests.promises.test_isolation import register
from tests.promises.test_no_orphans import descendants
from tests.promises.traffic import Message
from tests.serving import PATIENCE_S

CLIENTS = 6
SIGNALS = 4
"""Signals to processes, one after the other."""
REPLIES = 40
"""Replies between two signals."""

Expected = list[tuple[Message, Reply]]


def workers(server: int) -> list[int]:
    return sorted(descendants(server) - set(fork_servers(server)))


def fork_servers(server: int) -> list[int]:
    return sorted(child for child in descendants(server) if descendants(child))


def itself(server: int) -> list[int]:
    return [server]


class Load:
    """Clients that compare replies until they are told to stop."""

    def __init__(self, address: Address, expected: Expected) -> None:
        self._address, self._expected = address, expected
        self._rng = random.Random(3)
        self._is_over = False
        self.statuses: Counter[int] = Counter()

    async def client(self) -> None:
        connection = Connection(self._address)
        while not self._is_over:
            message, expected = self._rng.choice(self._expected)
            reply = await connection.send(message)
            assert reply == expected or reply.is_refusal_of_load, (message, reply, expected)
            self.statuses[reply.status] += 1
        connection.close()

    async def signals(self, find: Callable[[int], list[int]], server: int, how: signal.Signals) -> set[int]:
        """Send signals to processes of the server while clients are answered; return all processes that were seen."""
        seen: set[int] = set()
        for _ in range(SIGNALS):
            await self._replies()
            found = await asyncio.to_thread(find, server)
            seen |= await asyncio.to_thread(descendants, server)
            if found:
                with suppress(ProcessLookupError):
                    os.kill(self._rng.choice(found), how)
                if found == [server]:
                    await asyncio.sleep(0.5)
                    os.kill(server, signal.SIGCONT)
        await self._replies()
        self._is_over = True
        return seen | await asyncio.to_thread(descendants, server)

    async def _replies(self) -> None:
        before = self.statuses.total()
        while self.statuses.total() < before + REPLIES:  # noqa: ASYNC110  # a count has no event
            await asyncio.sleep(0.01)


async def load(
    address: Address, expected: Expected, server: int, find: Callable[[int], list[int]], how: signal.Signals
) -> tuple[set[int], Counter[int]]:
    """Run clients while processes get signals, then wait until every request is answered as it is alone."""
    loaded = Load(address, expected)
    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(loaded.client())
        signalled = group.create_task(loaded.signals(find, server, how))
    connection = Connection(address)
    for message, reply in expected:
        while (found := await connection.send(message)) != reply:
            assert found.is_refusal_of_load, (message, found, reply)
    connection.close()
    return signalled.result(), loaded.statuses


CASES = [(workers, signal.SIGKILL), (workers, signal.SIGSTOP), (fork_servers, signal.SIGKILL)]
CASES += [(fork_servers, signal.SIGSTOP), (itself, signal.SIGSTOP)]


@pytest.mark.parametrize(("find", "how"), CASES)
def test_no_answer_is_wrong_and_no_process_is_left(find: Callable[[int], list[int]], how: signal.Signals) -> None:
    with serving(concurrency=2, log_level="error", inline_ms=0.3, timeout_ms=3000) as (process, words):
        url = urlsplit(words[1])
        address = (str(url.hostname), int(url.port or 0))
        graphs = register(address, 4)
        messages = [traffic.message(seed, graphs) for seed in range(60)]
        expected = list(zip(messages, asyncio.run(sequential(address, messages)), strict=True))
        seen, statuses = asyncio.run(load(address, expected, process.pid, find, how))
        assert set(statuses) <= {200, 400, 404, 415, 422, 503, 504}
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
        assert not ended(seen)
