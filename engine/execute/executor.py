"""The interface of executors: from a plan to an executable, which runs it as often as asked.

An executor reads `Plan.function`, which has no rewrite for NumPy in it, or the steps that NumPy's lowering made of it.
It is called once, before the plan is settled: afterwards nothing of the graph is left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from engine.plan.plan import Plan, Source


class Executable(Protocol):
    """Something that computes a plan's function. Several threads may run it at once."""

    def run(self, values: Mapping[Source, Any], *, deadline: float | None = None) -> list[Any]:
        """Return the function's outputs as arrays, in their order.

        `values` has an array for every input. `deadline` is a moment of `time.monotonic()`. Raises ValueFault where an
        op refuses a value, DeadlineExceeded.
        """


Executor = Callable[[Plan], Executable]
"""Makes the executable of a plan that is not settled yet."""
