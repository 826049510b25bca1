"""A process that is stopped (SIGSTOP) holds no call beyond its deadline, and is replaced."""

import os
import signal
import time

import pytest

from tests.app.bodies import sum_of_exp
from tests.app.client import Client
from tests.promises.conftest import Faulty, ready
from tests.promises.planted import SEEDS
from tests.promises.test_no_orphans import descendants, living
from tests.serving import PATIENCE_S


def fork_server_of(client: Client) -> int:
    """Return the process id of the current fork server, 0 if there is none."""
    found = client.services.dispatcher.workers._fork_server
    return 0 if found is None else found.process.pid


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a fork server be asked often."""
    monkeypatch.setattr("app.workers.fork_server_process.BEAT_S", 0.1)


def test_a_stopped_worker_is_killed_at_the_deadline(faulty: Faulty) -> None:
    with faulty(timeout_ms=3000) as client:
        assert client.post("/v1/gradients", sum_of_exp()).status_code == 200
        (worker,) = descendants(fork_server_of(client))
        os.kill(worker, signal.SIGSTOP)
        late = client.post("/v1/gradients", sum_of_exp())
        assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")
        client.until(lambda: not living({worker}))
        assert client.post("/v1/gradients", sum_of_exp()).status_code == 200


def test_a_stopped_fork_server_is_replaced_with_its_workers(faulty: Faulty, brief: None) -> None:
    with faulty(timeout_ms=3000) as client:
        before = fork_server_of(client)
        os.kill(before, signal.SIGSTOP)
        statuses = [client.post("/v1/gradients", sum_of_exp(seed=SEEDS["leave"])).status_code]
        while fork_server_of(client) in {before, 0} or not ready(client):
            statuses.append(client.post("/v1/gradients", sum_of_exp()).status_code)
        assert set(statuses) <= {200, 503, 504}
        assert statuses[0] == 503  # its worker left
        assert not living({before})
        client.until(lambda: ready(client))
        assert client.post("/v1/gradients", sum_of_exp()).status_code == 200


def test_a_fork_server_that_answers_stays(faulty: Faulty, brief: None) -> None:
    with faulty() as client:
        before = client.services.dispatcher.workers._fork_server
        assert before is not None
        answers: list[None] = []
        on_message = before._on_message

        def counted() -> None:
            answers.append(None)
            on_message()

        before._loop.add_reader(before._control, counted)
        client.until(lambda: len(answers) > 15)
        assert client.services.dispatcher.workers._fork_server is before


def test_the_end_does_not_wait_long_for_a_stopped_fork_server(faulty: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.workers.fork_server_process._END_S", 0.1)
    with faulty() as client:
        before = fork_server_of(client)
        below = descendants(before) | {before}
        os.kill(before, signal.SIGSTOP)
    end = time.monotonic() + PATIENCE_S
    while living(below) and time.monotonic() < end:
        time.sleep(0.05)
    assert not living(below)
