"""A chain of a thousand ops on tensors of 16 elements: the overhead of a library per call."""

from __future__ import annotations

from typing import Any

from benchmarks.peers import by_autograd, by_jax, by_torch
from benchmarks.workload import Case, call, normal, program, value_and_gradients
from engine.compile.derivatives.gradients import GradientRequest

WRT = ("x", "scale", "shift")


def chain(ops: int = 1000) -> Case:
    """Return the case: steps of four ops, x + (tanh(x) * scale - shift), and a sum."""
    draw = normal(1)
    values = {"x": draw(16), "scale": draw(16, scale=0.01), "shift": draw(16, scale=0.01)}
    steps = ops // 4
    calls = []
    x = "x"
    for step in range(steps):
        calls += [
            call("tanh", x, output=f"bent{step}"),
            call("mul", f"bent{step}", "scale", output=f"scaled{step}"),
            call("sub", f"scaled{step}", "shift", output=f"change{step}"),
            call("add", x, f"change{step}", output=f"x{step}"),
        ]
        x = f"x{step}"
    calls.append(call("sum", x, output="loss"))

    def loss(numpy: Any, x: Any, scale: Any, shift: Any) -> Any:
        for _ in range(steps):
            x = x + (numpy.tanh(x) * scale - shift)
        return numpy.sum(x)

    peers = {
        "torch": by_torch(loss, values, WRT),
        "jax": by_jax(lambda jax, *arrays: loss(jax.numpy, *arrays), values, WRT),
        "autograd": by_autograd(loss, values, WRT),
    }
    return Case(program(values, WRT, calls), GradientRequest(), values, value_and_gradients(WRT), peers)
