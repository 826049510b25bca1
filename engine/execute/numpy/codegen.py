"""Generate straight-line Python for a small plan. Used by the NumPy runner.

For tiny tensors, interpreting the steps costs more than the arithmetic. The source contains only slot numbers and
parameter names; kernels and parameter values are its globals. No text of a request is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from engine.plan.plan import Plan
from engine.plan.steps import Step

MOST_STEPS = 4_000
"""Maximum number of steps to compile: compiling takes about 20 µs a step."""

StraightLine = Callable[[Sequence[Any]], list[Any]]
"""A function from the values of a plan's inputs, in order, to its outputs."""


def straight_line(plan: Plan) -> StraightLine:
    """Return a compiled function that runs a plan."""
    known: dict[str, Any] = {f"v{slot}": value for slot, value in enumerate(plan.memory) if value is not None}
    names: dict[int, str] = {}

    def named(value: Any) -> str:
        """Return the name of the global for an object: one name for each object."""
        name = names.setdefault(id(value), f"g{len(names)}")
        known[name] = value
        return name

    inputs = "".join(f"v{slot}, " for _, slot in plan.inputs)
    lines = [f"    ({inputs}) = given"] if inputs else []
    lines += [f"    {_line(step, named)}" for step in plan.code.steps()]
    outputs = ", ".join(f"v{slot}" for slot in plan.outputs)
    source = "\n".join(["def run(given):", *lines, f"    return [{outputs}]"])
    exec(compile(source, "<plan>", "exec"), known)  # noqa: S102  # contains only numbers, see above
    run: StraightLine = known["run"]
    return run


def _line(step: Step, named: Callable[[Any], str]) -> str:
    """Return the source line of a step; its kernel and parameters become globals."""
    (kernel, extra, params), args, results, _ = step
    arguments = [f"v{slot}" for slot in args]
    arguments += [named(value) for value in extra]
    arguments += [f"{name}={named(value)}" for name, value in params.items()]
    targets = f"v{results} " if isinstance(results, int) else "".join(f"v{slot}, " for slot in results)
    return f"{targets}= {named(kernel)}({', '.join(arguments)})"
