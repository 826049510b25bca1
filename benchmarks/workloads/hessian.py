"""The full Hessian of a logistic regression's loss, in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.peers import jax as load_jax
from benchmarks.peers import torch as load_torch
from benchmarks.workload import Array, Case, Run, call, normal, program
from engine.compile.derivatives.hessian import HessianRequest


def hessian(rows: int = 1000, dimensions: int = 100) -> Case:
    """Return the case."""
    draw = normal(6)
    values = {"x": draw(rows, dimensions), "y": np.sign(draw(rows)) / 2 + 0.5, "w": draw(dimensions, scale=0.1)}
    calls = (
        call("matmul", "x", "w", output="z"),
        call("binary_cross_entropy_with_logits", "z", "y", output="loss"),
    )
    peers = {"torch": lambda: _torch(**values), "jax": lambda: _jax(**values)}
    return Case(program(values, ("w",), calls), HessianRequest(), values, (("hessian", "w", "w"),), peers)


def _torch(x: Array, y: Array, w: Array) -> Run:
    torch = load_torch()
    rows, labels, weights = map(torch.from_numpy, (x, y, w))
    second = torch.func.hessian(
        lambda given: torch.nn.functional.binary_cross_entropy_with_logits(rows @ given, labels)
    )
    return lambda: (second(weights),)


def _jax(x: Array, y: Array, w: Array) -> Run:
    jax = load_jax()
    rows, labels, weights = map(jax.numpy.asarray, (x, y, w))

    def loss(given: Any, rows: Any, labels: Any) -> Any:
        z = rows @ given
        return (jax.numpy.logaddexp(0, z) - z * labels).mean()

    second = jax.jit(jax.hessian(loss))
    return lambda: (jax.block_until_ready(second(weights, rows, labels)),)
