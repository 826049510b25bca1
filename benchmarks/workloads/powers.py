"""The sum of a ** b with bases of both signs and a tensor of integral exponents, in single precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.peers import by_jax, by_torch
from benchmarks.workload import Case, Run, call, normal, program, value_and_gradients
from engine.compile.derivatives.gradients import GradientRequest

WRT = ("a",)


def powers(size: int) -> Case:
    """Return the case with tensors of `size` elements."""
    draw = normal(3, "float32")
    values = {"a": draw(size), "b": np.round(np.abs(2 * draw(size)))}
    calls = (call("pow", "a", "b", output="powers"), call("sum", "powers", output="loss"))
    peers = {
        "numpy": lambda: _straight_line(**values),
        "torch": by_torch(lambda _, *tensors: _loss(*tensors), values, WRT),
        "jax": by_jax(lambda _, *arrays: _loss(*arrays), values, WRT),
    }
    return Case(program(values, WRT, calls, "float32"), GradientRequest(), values, value_and_gradients(WRT), peers)


def _straight_line(a: Any, b: Any) -> Run:
    """Return the value and the derivative with respect to the base, as NumPy computes them."""

    def run() -> Sequence[Any]:
        return np.power(a, b).sum(), b * np.power(a, b - 1)

    return run


def _loss(a: Any, b: Any) -> Any:
    return (a**b).sum()
