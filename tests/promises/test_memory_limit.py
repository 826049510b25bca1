"""A computation that takes more memory than a worker may have ends alone."""

import sys

import pytest

from tests.app.bodies import sum_of_exp
from tests.promises.conftest import Faulty
from tests.promises.planted import SEEDS


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not count what a process writes to")
def test_a_worker_without_memory_fails_one_request(faulty: Faulty) -> None:
    with faulty(worker_memory_bytes=2**30) as client:
        reply = client.post("/v1/gradients", sum_of_exp(seed=SEEDS["hoard"]))
        assert (reply.status_code, reply.json()["code"]) == (503, "busy")
        assert client.post("/v1/gradients", sum_of_exp()).status_code == 200
