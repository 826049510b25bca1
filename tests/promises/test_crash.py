"""A worker that crashes fails one request, with 503, and nothing else."""

import pytest
from structlog.testing import capture_logs

from tests.app.bodies import sum_of_exp
from tests.promises.conftest import Faulty
from tests.promises.planted import SEEDS


@pytest.mark.parametrize("fault", ["abort", "leave", "segfault", "be_killed"])
def test_a_crash_fails_one_request(faulty: Faulty, fault: str) -> None:
    with faulty() as client:
        lost = client.post("/v1/gradients", sum_of_exp(seed=SEEDS[fault]))
        assert (lost.status_code, lost.json()["code"]) == (503, "busy")
        assert int(lost.headers["retry-after"]) >= 1
        assert client.post("/v1/gradients", sum_of_exp()).status_code == 200


@pytest.mark.parametrize("ended", ["abort", "hang", "leaving"])
def test_memory_that_a_lost_worker_may_write_to_is_not_lent_again(faulty: Faulty, ended: str) -> None:
    with faulty() as client:
        segments = client.services.segments
        seed = SEEDS["hang" if ended == "leaving" else ended]
        timeout = {"timeout_ms": 1000} if ended == "hang" else {}
        status, _ = client.leased("/v1/gradients", sum_of_exp(seed=seed, **timeout), leaving=ended == "leaving")
        assert status == {"abort": 503, "hang": 504, "leaving": 499}[ended]
        assert not segments._free
        status, reply = client.leased("/v1/gradients", sum_of_exp())
        assert status == 200
        assert b'"gradients"' in reply
        assert [segment.number for segment in segments._free] == [1]


def test_others_are_answered_meanwhile(faulty: Faulty) -> None:
    with faulty(concurrency=2) as client:
        seeds = [SEEDS["leave"] if index % 4 == 0 else index for index in range(24)]
        replies = client.together([("POST", "/v1/gradients", {"json": sum_of_exp(seed=seed)}) for seed in seeds])
    assert [reply.status_code for reply in replies] == [503 if seed == SEEDS["leave"] else 200 for seed in seeds]


def test_an_idle_worker_that_ends_is_replaced_unnoticed(faulty: Faulty) -> None:
    with faulty() as client:
        client.post("/v1/gradients", sum_of_exp())
        workers = client.services.dispatcher.workers
        before = workers._idle[0]
        workers._command(before.number)
        client.until(lambda: workers._idle[0] is not before)
        assert client.post("/v1/gradients", sum_of_exp()).status_code == 200


def test_workers_come_back_when_their_fork_server_is_gone(faulty: Faulty) -> None:
    with faulty() as client:
        client.post("/v1/gradients", sum_of_exp())
        workers = client.services.dispatcher.workers
        before = workers._fork_server
        assert before is not None
        before.process.kill()
        client.until(lambda: workers._fork_server not in {before, None})
        assert client.post("/v1/gradients", sum_of_exp()).status_code == 200


def test_a_defect_in_a_worker_is_logged_and_told_to_nobody(faulty: Faulty) -> None:
    with faulty() as client, capture_logs() as lines:
        reply = client.post("/v1/gradients", sum_of_exp(seed=SEEDS["fail"]))
        assert (reply.status_code, reply.json()["code"]) == (500, "internal_error")
        assert "secret" not in reply.text
    assert [line["request_id"] for line in lines if line["event"] == "failed"] == [reply.headers["x-request-id"]]
