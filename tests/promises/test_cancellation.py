"""A client that leaves frees the worker that computes for it."""

from tests.app.bodies import sum_of_exp
from tests.promises.conftest import Faulty
from tests.promises.planted import SEEDS


def test_the_only_worker_is_free_again(faulty: Faulty) -> None:
    with faulty() as client:
        for _ in range(3):
            client.leaving("/v1/gradients", sum_of_exp(seed=SEEDS["hang"]))
        assert client.post("/v1/gradients", sum_of_exp()).status_code == 200
        refused = 'gradd_refused_total{code="client_gone"} 3.0'
        assert refused in client.get("/metrics").text
