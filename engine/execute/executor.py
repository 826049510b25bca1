"""The interface of executors: an executor turns a plan into an executable, which can run many times.

An executor reads `Plan.function`, which has no rewrite for NumPy, or the steps that the NumPy lowering made from it. It
is called once, before the plan is settled; a settled plan has no graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from engine.plan.plan import Plan, Source


class Executable(Protocol):
    """A runnable plan. Several threads may run it at once."""

    def run(self, values: Mapping[Source, Any], *, deadline: float | None = None) -> list[Any]:
        """Return the function's outputs as arrays, in their order.

        `values` has an array for every input. `deadline` is a time of `time.monotonic()`. Raises ValueFault if an op
        rejects a value, and DeadlineExceeded.
        """


Executor = Callable[[Plan], Executable]
"""Creates the executable of a plan that is not yet settled."""
