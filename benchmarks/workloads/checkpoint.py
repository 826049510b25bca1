"""A chain of 64 layers with a checkpoint at every eighth, and the same chain without: memory against time."""

from __future__ import annotations

from benchmarks.workload import Case, by_gradd, call, normal, program, value_and_gradients
from engine.compile.derivatives.gradients import GradientRequest


def checkpoint(layers: int = 64, batch: int = 8192, width: int = 128) -> Case:
    """Return the case: repeated silu(x w + b), then a sum. The backward pass needs both values of a layer."""
    draw = normal(7, "float32")
    values = {"x0": draw(batch, width)}
    calls = []
    for layer in range(layers):
        values[f"w{layer}"] = draw(width, width, scale=1.5 * width**-0.5)
        values[f"b{layer}"] = draw(width, scale=0.1)
        calls += [
            call("linear", f"x{layer}", f"w{layer}", f"b{layer}", output=f"z{layer}"),
            call("silu", f"z{layer}", output=f"x{layer + 1}"),
        ]
    calls.append(call("sum", f"x{layers}", output="loss"))
    wrt = tuple(name for name in values if name != "x0")
    made, answers = program(values, wrt, calls, "float32"), value_and_gradients(wrt)
    eighths = tuple(f"x{layer}" for layer in range(8, layers, 8))
    peers = {"unchecked": by_gradd(made, GradientRequest(), values, answers)}
    return Case(made, GradientRequest(checkpoint=eighths), values, answers, peers)
