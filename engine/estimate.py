"""What a run of a compiled request costs in all, from shapes alone, and how long that is likely to take.

The service asks it where to compute a request; `engine.explain` shows the same costs step by step.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.compiled import Compiled, Sweep
from engine.cost import Cost

STEP_S = 1.2e-6
"""Seconds that a step takes beside its arithmetic: a call of NumPy, mostly."""

FLOP_S = 1 / 15e9
"""Seconds that a floating-point operation takes, in loops that stay in cache and in matrix products."""

BYTE_S = 1 / 16e9
"""Seconds that a byte takes that is read or written."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What all runs of a request's sweeps take together: steps, operations and bytes."""

    steps: int
    cost: Cost

    @property
    def seconds(self) -> float:
        """How long it is likely to take on one core. Constants were fitted to the benchmarks' graphs."""
        moved = self.cost.bytes_read + self.cost.bytes_written
        return self.steps * STEP_S + self.cost.flops * FLOP_S + moved * BYTE_S


def runs(sweep: Sweep) -> int:
    """Return how often the plan of a sweep runs: once for each batch of directions."""
    return 1 if sweep.basis is None else -(-sweep.basis.count // sweep.basis.chunk)


def estimate(compiled: Compiled) -> Estimate:
    """Return what running a compiled request takes."""
    steps, cost = 0, Cost()
    for sweep in compiled.sweeps:
        times = runs(sweep)
        steps += times * sweep.plan.code.count
        cost += sweep.plan.cost * times
    return Estimate(steps, cost)
