"""A server under load for minutes, with workers that are killed and clients that leave.

`python -m tests.promises.soak --minutes 20` prints figures and exits with 1 unless every reply is right, no process is
left at the end, no descriptor leaks, and the server's memory grows by less than a megabyte a minute in the second half.
A run of less than twenty minutes does not judge the memory: caches are still filling.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np

from tests.promises import traffic
from tests.promises.sending import Address, Connection, Reply, sequential
from tests.promises.test_isolation import descriptors, register
from tests.promises.test_no_orphans import descendants, living
from tests.promises.traffic import Message
from tests.serving import CHECKOUT, PATIENCE_S, free_port, process, wait_until_live

CLIENTS = 8
MESSAGES = 400
LEAVING = 0.03
"""The share of requests whose client leaves before the answer."""
KILL_S = 3.0
"""Seconds between two kills of a worker."""
FORK_SERVER_KILL_S = 60.0
SAMPLE_S = 2.0
STEADY_MINUTES = 20.0
"""The shortest run whose memory is judged."""
MOST_GROWTH = 2**20
"""Bytes a minute."""


class Soak:
    """The load on one server, and what was found."""

    def __init__(self, address: Address, server: int, rng: random.Random) -> None:
        self._address, self._server, self._rng = address, server, rng
        self._expected: list[tuple[Message, Reply]] = []
        self._until = 0.0
        self.processes: set[int] = set()
        self.statuses: Counter[int] = Counter()
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.memory: list[tuple[float, int]] = []

    async def run(self, seconds: float) -> None:
        """Send the messages alone, then send them from many clients while workers are killed."""
        graphs = await asyncio.to_thread(register, self._address, 8)
        messages = [traffic.message(seed, graphs) for seed in range(MESSAGES)]
        self._expected = list(zip(messages, await sequential(self._address, messages), strict=True))
        self._until = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self._client())
            group.create_task(self._kill())
            group.create_task(self._sample())

    @property
    def _is_over(self) -> bool:
        return time.monotonic() >= self._until

    async def _client(self) -> None:
        connection = Connection(self._address)
        while not self._is_over:
            message, expected = self._rng.choice(self._expected)
            if self._rng.random() < LEAVING:
                self.counts["left"] += 1
                await connection.leave(message, self._rng.choice((0.5, 1)), self._rng.uniform(0, 0.02))
                continue
            try:
                reply = await connection.send(message)
            except (OSError, EOFError) as error:
                self.wrong.append(f"{message.kind} {message.path}: no answer: {error!r}")
                continue
            self.counts["sent"] += 1
            self.statuses[reply.status] += 1
            if reply != expected and not reply.is_refusal_of_load:
                self.wrong.append(f"{message.kind} {message.path}: {reply} in place of {expected}"[:2000])
        connection.close()

    async def _kill(self) -> None:
        """Kill a worker every few seconds, and the fork server every minute."""
        next_fork_server = time.monotonic() + FORK_SERVER_KILL_S / 2
        while not self._is_over:
            await asyncio.sleep(KILL_S)
            below = await asyncio.to_thread(descendants, self._server)
            self.processes |= below
            parents = {pid for pid in below if await asyncio.to_thread(descendants, pid)}
            is_for_fork_server = time.monotonic() > next_fork_server
            candidates = sorted(parents if is_for_fork_server else below - parents)
            if candidates:
                with suppress(ProcessLookupError):
                    os.kill(self._rng.choice(candidates), signal.SIGKILL)
                self.counts["killed"] += 1
            if is_for_fork_server:
                next_fork_server += FORK_SERVER_KILL_S

    async def _sample(self) -> None:
        while not self._is_over:
            self.memory.append((time.monotonic(), resident(self._server)))
            await asyncio.sleep(SAMPLE_S)

    @property
    def slope(self) -> float:
        """Growth of the server's memory in the second half, in bytes a minute, by least squares."""
        half = self.memory[len(self.memory) // 2 :]
        times, sizes = np.array(half).T
        return float(np.polyfit((times - times[0]) / 60, sizes, 1)[0]) if len(half) > 2 else 0.0


def resident(pid: int) -> int:
    """Return the resident memory of a process in bytes. Shared memory of large bodies is counted too."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def soak(minutes: float, seed: int) -> int:
    """Run the load, print the figures, and return the exit status."""
    port = free_port()
    os.environ.update(GRADD_CONCURRENCY="2", GRADD_LOG_LEVEL="error")
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "serve.log")
        command = [sys.executable, "-m", "app", "serve", "--port", str(port)]
        with process(command, cwd=CHECKOUT, log=log) as server:
            wait_until_live(f"http://127.0.0.1:{port}", seconds=PATIENCE_S, path="/health/ready")
            load = Soak(("127.0.0.1", port), server.pid, random.Random(seed))
            asyncio.run(load.run(minutes * 60))
            left_open = settled_descriptors(server.pid)
            load.processes |= descendants(server.pid)
            server.send_signal(signal.SIGTERM)
            status = server.wait(PATIENCE_S)
            orphans = ended(load.processes)
        traces = log.read_text(errors="replace").count("Traceback")
    return report(load, minutes, {"orphans": len(orphans), "exit status": status, "tracebacks": traces}, left_open)


def settled_descriptors(pid: int) -> int:
    """Return how many descriptors a server has open, once it has seen that its clients are gone."""
    time.sleep(5)
    return descriptors(pid)


def ended(processes: set[int]) -> set[int]:
    """Wait until processes end; return those that do not."""
    end = time.monotonic() + 60
    while (left := living(processes)) and time.monotonic() < end:
        time.sleep(0.1)
    return left


MOST_DESCRIPTORS = 64
"""What a server without clients has open at most: the pools of database connections and of shared memory, and pipes."""


def report(load: Soak, minutes: float, must_be_zero: dict[str, int], left_open: int) -> int:
    """Print the figures; return 1 if one of them is not as promised."""
    first, last = (size / 2**20 for size in (load.memory[0][1], load.memory[-1][1]))
    print(f"{minutes:g} minutes, {CLIENTS} clients")
    print(f"requests {load.counts['sent']}, by status {dict(sorted(load.statuses.items()))}")
    print(f"clients that left {load.counts['left']}, processes killed {load.counts['killed']}")
    print(f"wrong answers {len(load.wrong)}")
    print(f"server's memory {first:.0f} MiB at first, {last:.0f} MiB at last")
    print(f"slope in the second half {load.slope / 2**20:.3f} MiB a minute")
    print(f"descriptors at the end {left_open}")
    print(", ".join(f"{name} {count}" for name, count in must_be_zero.items()))
    for text in load.wrong[:10]:
        print(text)
    judged = minutes >= STEADY_MINUTES and load.slope >= MOST_GROWTH
    failed = bool(load.wrong) or any(must_be_zero.values()) or left_open > MOST_DESCRIPTORS or judged
    return int(failed or not load.counts["sent"] or not load.counts["killed"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    sys.exit(soak(arguments.minutes, arguments.seed))
