"""LeNet-5 (LeCun et al. 1998) in its present-day form with ReLU and max pooling, in single precision."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.peers import by_jax, by_torch
from benchmarks.workload import Case, call, normal, program, value_and_gradients
from engine.compile.derivatives.gradients import GradientRequest

SHAPES = {
    "kernel1": (6, 1, 5, 5),
    "bias1": (6,),
    "kernel2": (16, 6, 5, 5),
    "bias2": (16,),
    "w3": (120, 400),
    "b3": (120,),
    "w4": (84, 120),
    "b4": (84,),
    "w5": (10, 84),
    "b5": (10,),
}
WRT = tuple(SHAPES)

CALLS = (
    call("conv2d", "x", "kernel1", "bias1", output="z1", padding=2),
    call("relu", "z1", output="h1"),
    call("max_pool2d", "h1", 2, output="p1"),
    call("conv2d", "p1", "kernel2", "bias2", output="z2"),
    call("relu", "z2", output="h2"),
    call("max_pool2d", "h2", 2, output="p2"),
    call("flatten", "p2", 1, output="flat"),
    call("linear", "flat", "w3", "b3", output="z3"),
    call("relu", "z3", output="h3"),
    call("linear", "h3", "w4", "b4", output="z4"),
    call("relu", "z4", output="h4"),
    call("linear", "h4", "w5", "b5", output="z5"),
    call("cross_entropy", "z5", "y", output="loss"),
)


def lenet(images: int = 64) -> Case:
    """Return the case."""
    draw = normal(5, "float32")
    values = {"x": draw(images, 1, 28, 28), "y": np.random.default_rng(5).integers(10, size=images)}
    for name, shape in SHAPES.items():
        values[name] = draw(*shape, scale=float(np.prod(shape[1:])) ** -0.5 if len(shape) > 1 else 0.1)
    peers = {"torch": by_torch(_torch, values, WRT), "jax": by_jax(_jax, values, WRT)}
    return Case(program(values, WRT, CALLS, "float32"), GradientRequest(), values, value_and_gradients(WRT), peers)


def _torch(torch: Any, x: Any, y: Any, *parameters: Any) -> Any:
    kernel1, bias1, kernel2, bias2, w3, b3, w4, b4, w5, b5 = parameters
    functions = torch.nn.functional
    x = functions.max_pool2d(functions.relu(functions.conv2d(x, kernel1, bias1, padding=2)), 2)
    x = functions.max_pool2d(functions.relu(functions.conv2d(x, kernel2, bias2)), 2)
    x = functions.relu(functions.linear(x.flatten(1), w3, b3))
    x = functions.relu(functions.linear(x, w4, b4))
    return functions.cross_entropy(functions.linear(x, w5, b5), y)


def _jax(jax: Any, x: Any, y: Any, *parameters: Any) -> Any:
    kernel1, bias1, kernel2, bias2, w3, b3, w4, b4, w5, b5 = parameters

    def convolved(x: Any, kernel: Any, bias: Any, padding: int) -> Any:
        sides = [(padding, padding)] * 2
        return jax.nn.relu(jax.lax.conv(x, kernel, (1, 1), sides) + bias[:, None, None])

    def pooled(x: Any) -> Any:
        return jax.lax.reduce_window(x, -jax.numpy.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")

    x = pooled(convolved(x, kernel1, bias1, 2))
    x = pooled(convolved(x, kernel2, bias2, 0))
    x = jax.nn.relu(x.reshape(len(x), -1) @ w3.T + b3)
    x = jax.nn.relu(x @ w4.T + b4)
    scores = jax.nn.log_softmax(x @ w5.T + b5)
    return -jax.numpy.take_along_axis(scores, y[:, None], 1).mean()
