"""However the server ends, no process and no temporary file of its is left behind."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

from app.graphs.store.store import Store, StoredGraph
from app.routes.examples.registered import GRAPHS
from app.settings import Settings
from tests.app.http.test_server import HEAVY, everything, send_heavy, serving
from tests.serving import PATIENCE_S

SECONDS = PATIENCE_S


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


def register(words: list[str]) -> None:
    """Register a graph at the server that printed these words."""
    url = urljoin(words[1], "/v1/graphs")
    assert httpx.post(url, json=GRAPHS["layer"]["value"], trust_env=False, timeout=SECONDS).status_code == 201


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_process_and_no_file_is_left(how: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with serving(concurrency=2) as (process, words):
        assert httpx.post(words[1], content=HEAVY, trust_env=False, timeout=SECONDS).status_code == 200
        below = descendants(process.pid)
        assert len(below) == 3  # the fork server and two workers
        register(words)
        assert len(list(tmp_path.glob("gradd-*/graphs.sqlite*"))) > 1
        with send_heavy(words) as connection:
            process.send_signal(how)
            with suppress(ConnectionError):
                everything(connection)
            process.wait(SECONDS)
        end = time.monotonic() + SECONDS
        while living(below) and time.monotonic() < end:
            time.sleep(0.05)
        assert not living(below)
    assert not list(tmp_path.iterdir())


def test_what_is_left_when_all_are_killed_goes_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    other = tmp_path / "gradd-notes"
    other.mkdir()
    store = Store(Settings())
    with serving(concurrency=1) as (process, words):
        register(words)
        [left] = set(tmp_path.iterdir()) - {other}
        store.put(StoredGraph("a", b"t", b"d"))  # while the server lives, its folder stays
        assert {path.name for path in tmp_path.iterdir()} == {other.name, left.name, Path(store.location).parent.name}
        for pid in (*descendants(process.pid), process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait(SECONDS)
    assert left.exists()
    following = Store(Settings())
    following.put(StoredGraph("a", b"t", b"d"))
    assert not left.exists()
    assert "a" in Store(Settings(store=store.location))
    for each in (store, following):
        each.close()
    assert list(tmp_path.iterdir()) == [other]


def test_the_store_s_url_is_in_no_command_line(tmp_path: Path) -> None:
    with serving(store=f"sqlite:///{tmp_path}/secret.sqlite") as (_, words):
        register(words)
        listed = subprocess.run(["ps", "-A", "-ww", "-o", "args="], capture_output=True, text=True, check=True).stdout
    assert "app.workers.fork_server" in listed
    assert "secret.sqlite" not in listed
