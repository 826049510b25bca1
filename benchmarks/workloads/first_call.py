"""The first call of an unknown graph: a hundred ops in a new random order for every call.

A server without state receives new graphs often. gradd types, differentiates, plans and runs the graph; `jax.jit`
traces and compiles it; PyTorch and autograd only run it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.peers import jax as load_jax
from benchmarks.peers import torch as load_torch
from benchmarks.workload import LIMITS, Array, Case, Run, call, normal, picked, program, value_and_gradients
from engine.compile.compile import compile as compile_request
from engine.compile.derivatives.gradients import GradientRequest
from engine.program.program import OpCall

WRT = ("x", "y")
UNARY = ("tanh", "sin", "cos", "neg")
BINARY = ("add", "sub", "mul")
Step = tuple[str, tuple[int, ...]]
"""An op and the earlier values that it takes."""


def steps(seed: int, ops: int) -> list[Step]:
    """Return a graph. Each op takes the previous value; a binary op also takes one of the eight values before it."""
    rng = np.random.default_rng(seed)
    drawn: list[Step] = [("mul", (0, 1))]
    for last in range(2, ops + 1):
        op = str(rng.choice((*UNARY, *BINARY)))
        drawn.append((op, (last,) if op in UNARY else (last, int(rng.integers(max(0, last - 8), last)))))
    return drawn


def loss(library: Mapping[str, Callable[..., Any]], graph: Sequence[Step], *leaves: Any) -> Any:
    """Return the sum of the graph's last value, computed by a library's functions."""
    found = list(leaves)
    for op, positions in graph:
        found.append(library[op](*[found[position] for position in positions]))
    return found[-1].sum()


def first_call(ops: int = 100) -> Case:
    """Return the case. Contestants count their calls: call number n uses graph number n for every contestant."""
    draw = normal(8)
    values = {"x": draw(32), "y": draw(32)}
    calls = _calls(steps(0, ops - 1))
    peers = {"torch": lambda: _torch(values, ops), "jax": lambda: _jax(values, ops)}
    return Case(
        program(values, WRT, calls),
        GradientRequest(),
        values,
        value_and_gradients(WRT),
        peers,
        gradd=lambda: _gradd(values, ops),
    )


def _calls(graph: Sequence[Step]) -> list[OpCall]:
    names = ["x", "y", *[f"v{position}" for position in range(len(graph))]]
    calls = [
        call(op, *[names[position] for position in positions], output=name)
        for name, (op, positions) in zip(names[2:], graph, strict=True)
    ]
    return [*calls, call("sum", names[-1], output="loss")]


def _graphs(ops: int) -> Iterator[list[Step]]:
    return (steps(seed, ops - 1) for seed in itertools.count())


def _gradd(values: Mapping[str, Array], ops: int) -> Run:
    given = {("tensors", name): value for name, value in values.items()}
    programs = (program(values, WRT, _calls(graph)) for graph in _graphs(ops))
    answers = value_and_gradients(WRT)
    return lambda: picked(compile_request(next(programs), GradientRequest(), LIMITS).run(given), answers)


def _torch(values: Mapping[str, Array], ops: int) -> Run:
    torch = load_torch()
    library = {name: getattr(torch, name) for name in (*UNARY, *BINARY)}
    leaves = [torch.from_numpy(value).requires_grad_() for value in values.values()]
    graphs = _graphs(ops)

    def run() -> Sequence[Any]:
        value = loss(library, next(graphs), *leaves)
        return (value.detach(), *torch.autograd.grad(value, leaves))

    return run


def _jax(values: Mapping[str, Array], ops: int) -> Run:
    jax = load_jax()
    names = {"sub": "subtract", "mul": "multiply", "neg": "negative"}
    library = {name: getattr(jax.numpy, names.get(name, name)) for name in (*UNARY, *BINARY)}
    arrays = list(map(jax.numpy.asarray, values.values()))
    graphs = _graphs(ops)

    def run() -> Sequence[Any]:
        graph = next(graphs)
        fresh = jax.jit(jax.value_and_grad(lambda *leaves: loss(library, graph, *leaves), (0, 1)))
        value, gradients = jax.block_until_ready(fresh(*arrays))
        return (value, *gradients)

    return run
