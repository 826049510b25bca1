"""The total cost of a run, computed from shapes, and its predicted time.

The service uses it to decide where a request runs. `engine.compile.explain` shows the same costs for each step.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from engine.compile.compiled import Compiled, Execution
from engine.optimize.cost import Cost

RUN_S = 6e-6
"""Seconds of overhead of a run."""

STEP_S = 0.8e-6
"""Seconds of overhead of a step, mostly a call of NumPy."""

FLOP_S = 1 / 15e9
"""Seconds of a floating-point operation in loops over data in the cache."""

SINGLE_S, DOUBLE_S = 1 / 90e9, 1 / 45e9
"""Seconds of a floating-point operation of a matrix product, in float32 and in float64."""

BYTE_S = 1 / 16e9
"""Seconds to read or write a byte."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The total cost of all `runs` of a request's plans: steps, operations and bytes.

    `single` and `double` count the operations of matrix products in float32 and in float64.
    """

    runs: int
    steps: int
    cost: Cost
    single: int
    double: int

    @property
    def seconds(self) -> float:
        """The predicted seconds on one core. The constants are fitted to the benchmarks' graphs."""
        loops = self.cost.effort - self.single - self.double
        work = loops * FLOP_S + self.single * SINGLE_S + self.double * DOUBLE_S
        moved = self.cost.bytes_read + self.cost.bytes_written
        return self.runs * RUN_S + self.steps * STEP_S + work + moved * BYTE_S


def runs(execution: Execution) -> int:
    """Return the number of runs of an execution's plan: one for each batch of directions, or one."""
    return 1 if execution.unit_vectors is None else -(-execution.unit_vectors.count // execution.unit_vectors.chunk)


def estimate(compiled: Compiled) -> Estimate:
    """Return the cost of a run of a compiled request."""
    return estimated(compiled.executions)


def estimated(executions: Iterable[Execution]) -> Estimate:
    """Return the total cost of executions."""
    total, steps, cost, single, double = 0, 0, Cost(), 0, 0
    for execution in executions:
        times, plan = runs(execution), execution.plan
        total += times
        steps += times * plan.code.count
        cost += plan.cost * times
        single += times * plan.products[0]
        double += times * plan.products[1]
    return Estimate(total, steps, cost, single, double)
