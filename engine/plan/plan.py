"""The Plan class: ordered steps, the slots that they read and write, and their cost.

The NumPy lowering creates plans and executors run them. A plan holds no values except constants, so it can be cached
and run many times, by several threads at once.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, replace
from typing import Any

from engine.graph.function import EMPTY, Function
from engine.graph.types import DType, Shape
from engine.optimize.cost import Cost
from engine.plan.steps import Code, Unit

Source = tuple[str, str]
"""Origin of a leaf: a member of the request and a name in it, for example ("tensors", "w")."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Encoded steps, the slots of inputs and outputs, and the initial memory: constants, otherwise None.

    `results` has the shape and dtype of each output. `origins` has the index of the user's op for each step, or -1.
    `peak_bytes` is an upper bound on the bytes in use at once, inputs and kernel workspaces included; a view that may
    be a copy counts as a copy. `cost` is the cost of all steps. `products` has its floating-point operations in BLAS:
    (float32, float64). `boundary` is the index of the first derivative node.

    A plan that is not yet `settled` also has the planned `function` before any rewrite for NumPy, the `units` from
    which the steps were made, and `held`, the bytes in use while each unit runs.
    """

    code: Code
    inputs: tuple[tuple[Source, int], ...]
    outputs: tuple[int, ...]
    results: tuple[tuple[Shape, DType], ...]
    memory: tuple[Any, ...]
    origins: array[int]
    peak_bytes: int
    cost: Cost
    products: tuple[int, int]
    boundary: int = 0
    function: Function = EMPTY
    units: tuple[Unit, ...] = ()
    held: tuple[int, ...] = ()

    def settled(self) -> Plan:
        """Return the plan without the graph, which is several times as large and not needed to run."""
        return replace(self, function=EMPTY, units=(), held=())
