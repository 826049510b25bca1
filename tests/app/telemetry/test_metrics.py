"""The counters as Prometheus reads them."""

from typing import NamedTuple

import pytest

from app.errors import InvalidRequest, NotFound
from app.telemetry.metrics import Metrics
from engine.errors import Fault


class Usage(NamedTuple):
    """What a store says of itself."""

    graphs: int = 3
    bytes: int = 1000


def shown(metrics: Metrics, usage: Usage | None = None) -> list[str]:
    return [line for line in metrics.exposition(usage).decode().splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("count", [1, 1234])
def test_every_request_and_computation_is_counted(count: int) -> None:
    metrics = Metrics()
    for index in range(count):
        metrics.answered("/v1/gradients", 200, 0.002)
        metrics.computed((0.1, 0.2, 0.3, 0.4, index > 0))
    lines = shown(metrics)
    assert f'gradd_requests_total{{endpoint="/v1/gradients",status="200"}} {count}.0' in lines
    assert 'gradd_plans_total{found="miss"} 1.0' in lines
    assert f'gradd_phase_seconds_bucket{{le="0.25",phase="plan"}} {count}.0' in lines
    assert 'gradd_phase_seconds_bucket{le="0.1",phase="plan"} 0.0' in lines
    assert f'gradd_request_seconds_bucket{{endpoint="/v1/gradients",le="0.0025"}} {count}.0' in lines
    assert 'gradd_request_seconds_bucket{endpoint="/v1/gradients",le="0.001"} 0.0' in lines


def test_a_problem_counts_once_for_each_code() -> None:
    metrics = Metrics()
    metrics.refused(NotFound("nothing"))
    metrics.refused(InvalidRequest([Fault((), code, "wrong") for code in ("a", "b", "a")]))
    assert {line for line in shown(metrics) if line.startswith("gradd_refused") and not line.endswith(" 0.0")} == {
        f'gradd_refused_total{{code="{code}"}} 1.0' for code in ("not_found", "a", "b")
    }


def test_the_store_is_left_out_while_it_is_not_available() -> None:
    metrics = Metrics()
    assert {"gradd_graphs 3.0", "gradd_store_bytes 1000.0"} <= set(shown(metrics, Usage()))
    assert not [line for line in shown(metrics) if line.startswith(("gradd_graphs", "gradd_store_bytes"))]
