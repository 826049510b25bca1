"""What a run of a compiled request costs in all, from shapes alone, and how long that is likely to take.

The service asks it where to compute a request; `engine.compile.explain` shows the same costs step by step.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from engine.compile.compiled import Compiled, Pass
from engine.optimize.cost import Cost

RUN_S = 6e-6
"""Seconds that a run takes beside its steps."""

STEP_S = 0.8e-6
"""Seconds that a step takes beside its arithmetic: a call of NumPy, mostly."""

FLOP_S = 1 / 15e9
"""Seconds that a floating-point operation takes in loops that stay in cache."""

SINGLE_S, DOUBLE_S = 1 / 90e9, 1 / 45e9
"""Seconds that a floating-point operation of a product of matrices takes, in float32 and in float64."""

BYTE_S = 1 / 16e9
"""Seconds that a byte takes that is read or written."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What all `runs` of a request's sweeps take together: steps, operations and bytes.

    `single` and `double` are those of the operations that products of float32 and of float64 take.
    """

    runs: int
    steps: int
    cost: Cost
    single: int
    double: int

    @property
    def seconds(self) -> float:
        """How long it is likely to take on one core. Constants were fitted to the benchmarks' graphs."""
        loops = self.cost.effort - self.single - self.double
        work = loops * FLOP_S + self.single * SINGLE_S + self.double * DOUBLE_S
        moved = self.cost.bytes_read + self.cost.bytes_written
        return self.runs * RUN_S + self.steps * STEP_S + work + moved * BYTE_S


def runs(sweep: Pass) -> int:
    """Return how often the plan of a sweep runs: once for each batch of directions."""
    return 1 if sweep.basis is None else -(-sweep.basis.count // sweep.basis.chunk)


def estimate(compiled: Compiled) -> Estimate:
    """Return what running a compiled request takes."""
    return estimated(compiled.sweeps)


def estimated(sweeps: Iterable[Pass]) -> Estimate:
    """Return what running sweeps takes."""
    total, steps, cost, single, double = 0, 0, Cost(), 0, 0
    for sweep in sweeps:
        times, plan = runs(sweep), sweep.plan
        total += times
        steps += times * plan.code.count
        cost += plan.cost * times
        single += times * plan.products[0]
        double += times * plan.products[1]
    return Estimate(total, steps, cost, single, double)
