"""Rows of the cost model: the predicted and the measured time of each workload on one core.

The service uses the prediction to decide where it computes a request.
"""

from __future__ import annotations

import contextlib
import statistics

from benchmarks.contestant import Contestant, Failed
from benchmarks.effort import Effort
from benchmarks.results import Row, Target
from benchmarks.timing import interleaved
from benchmarks.workload import LIMITS, Workload
from benchmarks.workloads import CATALOGUE
from engine.compile.compile import compile as compile_request
from engine.compile.estimate import estimate

COST = "cost_model"
COST_WORK = "predicted and measured time: the larger by the smaller"
PREDICTED = tuple(workload for workload in CATALOGUE if workload.case(**workload.small).gradd is None)
"""Workloads that run the same plan in every call."""


def cost_rows(effort: Effort) -> tuple[Row, ...]:
    """Return a row for each workload, and a row of the ratios of measurement and prediction."""
    rows = [_row(workload, effort) for workload in PREDICTED]
    factors = [_factor(row) for row in rows if not row.fault]
    return (*rows, Row(COST, COST_WORK, "factor", {"gradd": factors}, (Target(3),)))


def _row(workload: Workload, effort: Effort) -> Row:
    case = workload.case(**workload.full)
    predicted = estimate(compile_request(case.program, case.request, LIMITS)).seconds
    try:
        with contextlib.closing(Contestant(workload.name, "gradd")) as gradd:
            samples = interleaved({"gradd": gradd.seconds}, rounds=effort.rounds, seconds=effort.seconds)
    except Failed as error:
        return Row(workload.name, workload.work, "time", fault=str(error))
    return Row(workload.name, workload.work, "time", {**samples, "predicted": [predicted]})


def _factor(row: Row) -> float:
    measured, predicted = row.median("gradd"), statistics.median(row.samples["predicted"])
    return max(measured / predicted, predicted / measured)
