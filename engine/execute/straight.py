"""A small plan as straight-line Python: for tiny tensors, walking the steps costs more than the arithmetic.

The source is made of slot numbers alone; kernels and parameters are its globals. Nothing of a request is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from engine.plan import Plan
from engine.steps import Step

MOST_STEPS = 4_000
"""Steps above which the compiling would not pay: it takes about 20 µs a step."""

Function = Callable[[Sequence[Any]], list[Any]]


def straight_line(plan: Plan) -> Function:
    """Return a function from the values of the plan's inputs, in order, to its outputs."""
    known: dict[str, Any] = {f"v{slot}": value for slot, value in enumerate(plan.memory) if value is not None}
    inputs = "".join(f"v{slot}, " for _, slot in plan.inputs)
    lines = [f"    ({inputs}) = given"] if inputs else []
    lines += [f"    {_line(step, number, known)}" for number, step in enumerate(plan.steps)]
    outputs = ", ".join(f"v{slot}" for slot in plan.outputs)
    source = "\n".join(["def run(given):", *lines, f"    return [{outputs}]"])
    exec(compile(source, "<plan>", "exec"), known)  # noqa: S102  # made of numbers, as said above
    function: Function = known["run"]
    return function


def _line(step: Step, number: int, known: dict[str, Any]) -> str:
    """Return the source of a step; its kernel and parameters become globals."""
    arguments = [f"v{slot}" for slot in step.args]
    known[f"k{number}"] = step.kernel
    for position, value in enumerate(step.extra):
        known[f"e{number}_{position}"] = value
        arguments.append(f"e{number}_{position}")
    for name, value in step.params.items():
        known[f"p{number}_{name}"] = value
        arguments.append(f"{name}=p{number}_{name}")
    targets = "".join(f"v{slot}, " for slot in step.results) if isinstance(step.results, tuple) else f"v{step.results} "
    return f"{targets}= k{number}({', '.join(arguments)})"
