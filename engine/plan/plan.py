"""What a plan is: steps in their order, the slots that they read and write, and what running them costs.

A plan holds no values but constants, so that it can be kept and run many times, by several threads at once.
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
"""What a leaf is read from: the request's member and the name in it, such as ("tensors", "w")."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps as their code, the slots of inputs and outputs, and the memory as it is at the start: constants, else None.

    `results` has the shape and dtype of each output. `origins` has the user's op that each step comes from, or -1.
    `peak_bytes` bounds the bytes that are alive at once, inputs and what kernels need for themselves included; views
    are counted as copies where they may be. `cost` is that of all steps, `products` those of its operations that BLAS
    does, in float32 and in float64. `boundary` is the index of the first node of a derivative.

    Until a plan is `settled`, it has the `function` that was planned, as it was before any rewrite for NumPy; the
    `units` that steps were made of; and the bytes that are alive while each runs, `held`.
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
        """Return what running takes: nothing of the graph, which is several times as large."""
        return replace(self, function=EMPTY, units=(), held=())
