"""However the server ends, no process of its is left behind."""

import signal
import subprocess
import time
from contextlib import suppress

import httpx
import pytest

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


def living(processes: set[int]) -> set[int]:
    """Return those that still live; what has ended and was not waited for is no process any more."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,stat="], capture_output=True, text=True, check=True).stdout
    states = {int(pid): state for pid, state in (line.split() for line in listed.splitlines())}
    return {pid for pid in processes if not states.get(pid, "Z").startswith("Z")}


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_process_is_left(how: signal.Signals) -> None:
    with serving(concurrency=2) as (process, words):
        assert httpx.post(words[1], content=HEAVY, trust_env=False, timeout=SECONDS).status_code == 200
        below = descendants(process.pid)
        assert len(below) == 3  # the nursery and two workers
        with send_heavy(words) as connection:
            process.send_signal(how)
            with suppress(ConnectionError):
                everything(connection)
            process.wait(SECONDS)
        end = time.monotonic() + SECONDS
        while living(below) and time.monotonic() < end:
            time.sleep(0.05)
        assert not living(below)
