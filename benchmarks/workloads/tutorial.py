"""PyTorch's tutorial: one layer of five inputs and three outputs, and its binary cross entropy, in double precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.peers import by_autograd, by_jax, by_torch
from benchmarks.workload import Array, Case, Run, call, normal, program, value_and_gradients
from engine.compile.derivatives.gradients import GradientRequest

WRT = ("w", "b")


def tutorial() -> Case:
    """Return the case."""
    draw = normal(0)
    values = {"x": np.ones(5), "y": np.zeros(3), "w": draw(5, 3), "b": draw(3)}
    calls = (
        call("matmul", "x", "w", output="xw"),
        call("add", "xw", "b", output="z"),
        call("binary_cross_entropy_with_logits", "z", "y", output="loss"),
    )
    peers = {
        "numpy": lambda: straight_line(**values),
        "torch": by_torch(_torch, values, WRT),
        "jax": by_jax(lambda jax, *arrays: _loss(jax.numpy, *arrays), values, WRT),
        "autograd": by_autograd(_loss, values, WRT),
    }
    return Case(program(values, WRT, calls), GradientRequest(), values, value_and_gradients(WRT), peers)


def straight_line(x: Array, y: Array, w: Array, b: Array) -> Run:
    """Return a manual implementation with a derivative worked out on paper."""

    def run() -> Sequence[Any]:
        z = x @ w + b
        decay = np.exp(-np.abs(z))
        loss = (np.maximum(z, 0) - z * y + np.log1p(decay)).mean()
        error = (1 / (1 + np.exp(-z)) - y) / z.size
        return loss, np.outer(x, error), error

    return run


def _torch(torch: Any, x: Any, y: Any, w: Any, b: Any) -> Any:
    return torch.nn.functional.binary_cross_entropy_with_logits(x @ w + b, y)


def _loss(numpy: Any, x: Any, y: Any, w: Any, b: Any) -> Any:
    z = numpy.dot(x, w) + b
    return numpy.mean(numpy.maximum(z, 0) - z * y + numpy.log1p(numpy.exp(-numpy.abs(z))))
