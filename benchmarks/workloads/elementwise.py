"""The sum of tanh(a * c + 1) * exp(-a * a): only elementwise work, in single precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.peers import by_jax, by_torch
from benchmarks.workload import Array, Case, Run, call, normal, program, value_and_gradients
from engine.compile.derivatives.gradients import GradientRequest

WRT = ("a", "c")


def elementwise(size: int) -> Case:
    """Return the case with tensors of `size` elements."""
    draw = normal(3, "float32")
    values = {"a": draw(size), "c": draw(size)}
    calls = (
        call("mul", "a", "c", output="ac"),
        call("add", "ac", 1.0, output="shifted"),
        call("tanh", "shifted", output="bent"),
        call("neg", "a", output="opposite"),
        call("mul", "opposite", "a", output="square"),
        call("exp", "square", output="bell"),
        call("mul", "bent", "bell", output="product"),
        call("sum", "product", output="loss"),
    )
    peers = {
        "numpy": lambda: straight_line(**values),
        "torch": by_torch(_loss, values, WRT),
        "jax": by_jax(lambda jax, *arrays: _loss(jax.numpy, *arrays), values, WRT),
    }
    return Case(program(values, WRT, calls, "float32"), GradientRequest(), values, value_and_gradients(WRT), peers)


def straight_line(a: Array, c: Array) -> Run:
    """Return a manual implementation with a derivative worked out on paper."""

    def run() -> Sequence[Any]:
        bent = np.tanh(a * c + 1)
        bell = np.exp(-a * a)
        inner = bell * (1 - bent * bent)
        return (bent * bell).sum(), inner * c - 2 * a * bell * bent, inner * a

    return run


def _loss(numpy: Any, a: Any, c: Any) -> Any:
    return (numpy.tanh(a * c + 1) * numpy.exp(-a * a)).sum()
