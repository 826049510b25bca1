"""However the server ends, no process of its is left behind."""

import os
import signal
import subprocess
import time
from contextlib import suppress

import httpx
import pytest

from app.evaluate import Call, Evaluator
from app.settings import Settings
from app.wire.codec import JSON
from engine.cores import CORES
from tests.app.test_segments import squares
from tests.app.test_server import HEAVY, everything, send_heavy, serving

SECONDS = 30


def descendants(root: int) -> set[int]:
    """Return the processes below one."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(pid): int(parent) for pid, parent in (line.split() for line in listed.splitlines())}
    found, before = {root}, set[int]()
    while found != before:
        before = set(found)
        found |= {pid for pid, parent in parents.items() if parent in before}
    return found - {root}


def children(parent: int) -> set[int]:
    """Return the processes right below one."""
    below = descendants(parent)
    return below.difference(*map(descendants, below))


def living(processes: set[int]) -> set[int]:
    """Return those that still live; what has ended and was not waited for is no process any more."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,stat="], capture_output=True, text=True, check=True).stdout
    states = {int(pid): state for pid, state in (line.split() for line in listed.splitlines())}
    return {pid for pid in processes if not states.get(pid, "Z").startswith("Z")}


@pytest.mark.skipif(CORES == 1, reason="workers have no seconds where there is no core for them")
def test_a_worker_does_without_its_second() -> None:
    body = squares(100_000, JSON, "json")
    with serving(concurrency=1) as (process, words):
        replies = [httpx.post(words[1], content=body, trust_env=False, timeout=SECONDS)]
        [nursery] = children(process.pid)
        [worker] = children(nursery)
        [second] = children(worker)
        os.kill(second, signal.SIGKILL)
        replies += [httpx.post(words[1], content=body, trust_env=False, timeout=SECONDS) for _ in range(2)]
        assert children(nursery) == {worker}
    assert {reply.content for reply in replies} == {Evaluator(Settings()).answer(Call("gradients", body)).body}


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_process_is_left(how: signal.Signals) -> None:
    with serving(concurrency=2) as (process, words):
        assert httpx.post(words[1], content=HEAVY, trust_env=False, timeout=SECONDS).status_code == 200
        below = descendants(process.pid)  # a nursery and two workers, which have seconds where there is a core for them
        assert len(below) == (3 if CORES == 1 else 5)
        with send_heavy(words) as connection:
            process.send_signal(how)
            with suppress(ConnectionError):
                everything(connection)
            process.wait(SECONDS)
        end = time.monotonic() + SECONDS
        while living(below) and time.monotonic() < end:
            time.sleep(0.05)
        assert not living(below)
