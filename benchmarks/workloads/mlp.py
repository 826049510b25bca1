"""A perceptron of 784-512-512-10 with ReLU and cross entropy on a batch, in single precision; and the same work for
each sample separately.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.peers import by_jax, by_torch
from benchmarks.peers import jax as load_jax
from benchmarks.peers import torch as load_torch
from benchmarks.workload import Array, Case, Run, call, normal, program, value_and_gradients
from engine.compile.derivatives.gradients import GradientRequest

WRT = ("w1", "b1", "w2", "b2", "w3", "b3")


def _values(batch: int, inputs: int, hidden: int, classes: int) -> dict[str, Array]:
    draw = normal(2, "float32")
    widths = (inputs, hidden, hidden, classes)
    values = {"x": draw(batch, inputs), "y": np.random.default_rng(2).integers(classes, size=batch)}
    for layer in (1, 2, 3):
        before, after = widths[layer - 1 : layer + 1]
        values[f"w{layer}"] = draw(after, before, scale=before**-0.5)
        values[f"b{layer}"] = draw(after, scale=0.1)
    return values


CALLS = (
    call("linear", "x", "w1", "b1", output="z1"),
    call("relu", "z1", output="h1"),
    call("linear", "h1", "w2", "b2", output="z2"),
    call("relu", "z2", output="h2"),
    call("linear", "h2", "w3", "b3", output="z3"),
    call("cross_entropy", "z3", "y", output="loss"),
)


def mlp(batch: int = 128, inputs: int = 784, hidden: int = 512, classes: int = 10) -> Case:
    """Return the case: the mean loss of the batch and its gradients."""
    values = _values(batch, inputs, hidden, classes)
    peers = {"torch": by_torch(_torch, values, WRT), "jax": by_jax(_jax, values, WRT)}
    return Case(program(values, WRT, CALLS, "float32"), GradientRequest(), values, value_and_gradients(WRT), peers)


def per_sample(batch: int = 128, inputs: int = 784, hidden: int = 512, classes: int = 10) -> Case:
    """Return the case: the loss of every sample and its gradients."""
    values = _values(batch, inputs, hidden, classes)
    request = GradientRequest(vmap={"x": 0, "y": 0})
    peers = {"torch": lambda: _torch_per_sample(values), "jax": lambda: _jax_per_sample(values)}
    return Case(program(values, WRT, CALLS, "float32"), request, values, value_and_gradients(WRT), peers)


def _torch(torch: Any, x: Any, y: Any, *parameters: Any) -> Any:
    w1, b1, w2, b2, w3, b3 = parameters
    functions = torch.nn.functional
    h1 = functions.relu(functions.linear(x, w1, b1))
    h2 = functions.relu(functions.linear(h1, w2, b2))
    return functions.cross_entropy(functions.linear(h2, w3, b3), y)


def _jax(jax: Any, x: Any, y: Any, *parameters: Any) -> Any:
    w1, b1, w2, b2, w3, b3 = parameters
    h1 = jax.nn.relu(x @ w1.T + b1)
    h2 = jax.nn.relu(h1 @ w2.T + b2)
    scores = jax.nn.log_softmax(h2 @ w3.T + b3)
    return -jax.numpy.take_along_axis(scores, y[..., None], -1).mean()


def _torch_per_sample(values: dict[str, Array]) -> Run:
    torch = load_torch()
    x, y, *parameters = map(torch.from_numpy, values.values())
    both = torch.func.grad_and_value(lambda given, x, y: _torch(torch, x, y, *given))
    mapped = torch.func.vmap(both, (None, 0, 0))

    def run() -> Sequence[Any]:
        gradients, value = mapped(tuple(parameters), x, y)
        return (value, *gradients)

    return run


def _jax_per_sample(values: dict[str, Array]) -> Run:
    jax = load_jax()
    x, y, *parameters = map(jax.numpy.asarray, values.values())
    both = jax.value_and_grad(lambda given, x, y: _jax(jax, x, y, *given))
    mapped = jax.jit(jax.vmap(both, (None, 0, 0)))

    def run() -> Sequence[Any]:
        value, gradients = jax.block_until_ready(mapped(tuple(parameters), x, y))
        return (value, *gradients)

    return run
