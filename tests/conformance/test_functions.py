"""Jacobians and Hessians of ten real functions are those of torch.func and of JAX; Newton's method runs on them."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import numpy as np
import pytest
import torch

from tests.conformance.functions.backends import Graph, JaxBackend, Recorded, RecorderBackend, TorchBackend
from tests.conformance.functions.catalogue import FUNCTIONS, Function, black_scholes, logistic_regression
from tests.conformance.server import Gradd

pytestmark = [pytest.mark.conformance, pytest.mark.filterwarnings("ignore")]

RELATIVE = 1e-9


def recorded(function: Function, arguments: dict[str, np.ndarray] | None = None) -> tuple[dict[str, Any], str]:
    """Return the request's graph of a function, and its result's name."""
    graph = Graph(arguments or function.arguments)
    result: Recorded = function.call(
        RecorderBackend(graph), **{name: graph.argument(name) for name in function.arguments}
    )
    return graph.as_request(), result.name


def posted(gradd: Gradd, path: str, request: dict[str, Any]) -> Any:
    """Return the body of a reply that must be good."""
    answer = gradd.post(path, request)
    assert answer.status == 200, answer.body
    return answer.body


@functools.cache
def by_torch(name: str, derivative: str) -> Any:
    """Return a derivative by torch.func with respect to all arguments."""
    function = FUNCTIONS[name]
    tensors = tuple(torch.as_tensor(value) for value in function.arguments.values())
    names = list(function.arguments)

    def call(*values: torch.Tensor) -> Any:
        return function.call(TorchBackend(), **dict(zip(names, values, strict=True)))

    return getattr(torch.func, derivative)(call, argnums=tuple(range(len(names))))(*tensors)


@functools.cache
def by_jax(name: str, derivative: str) -> Any:
    """Return a derivative by JAX with respect to all arguments."""
    function = FUNCTIONS[name]
    backend = JaxBackend()
    names = list(function.arguments)

    def call(*values: Any) -> Any:
        return function.call(backend, **dict(zip(names, values, strict=True)))

    derive = getattr(jax, derivative)(call, argnums=tuple(range(len(names))))
    return derive(*[jax.numpy.asarray(value) for value in function.arguments.values()])


def assert_near(found: Any, expected: Any, scale: float) -> None:
    """Compare to `RELATIVE` of the largest element of the whole derivative."""
    array = np.asarray(found["data"], dtype=np.float64).reshape(found["shape"])
    np.testing.assert_allclose(array, np.asarray(expected), rtol=RELATIVE, atol=RELATIVE * scale)


def largest(blocks: Any) -> float:
    """Return the largest magnitude in nested blocks."""
    if isinstance(blocks, tuple | list):
        return max(map(largest, blocks))
    return float(np.abs(np.asarray(blocks)).max())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_jacobians_are_those_of_torch_and_jax(name: str, gradd: Gradd) -> None:
    function = FUNCTIONS[name]
    graph, output = recorded(function)
    for mode in ("forward", "reverse", "auto"):
        body = posted(gradd, "/v1/jacobian", {"graph": graph, "outputs": [output], "mode": mode})
        for expected in (by_torch(name, "jacrev"), by_jax(name, "jacrev")):
            for argument, block in zip(function.arguments, expected, strict=True):
                assert_near(body["jacobian"][output][argument], block, largest(expected))


@pytest.mark.parametrize("name", [name for name, function in FUNCTIONS.items() if function.scalar])
def test_hessians_are_those_of_torch_and_jax(name: str, gradd: Gradd) -> None:
    function = FUNCTIONS[name]
    graph, output = recorded(function)
    body = posted(gradd, "/v1/hessian", {"graph": graph, "output": output})
    for expected in (by_torch(name, "hessian"), by_jax(name, "hessian")):
        for row, blocks in zip(function.arguments, expected, strict=True):
            for column, block in zip(function.arguments, blocks, strict=True):
                assert_near(body["hessian"][row][column], block, largest(expected))


def test_newtons_method_on_the_hessian_endpoint_solves_a_logistic_regression(gradd: Gradd) -> None:
    function = FUNCTIONS["logistic_regression"]
    point = {"w": np.zeros(30), "b": np.zeros(())}
    steps = 0
    while True:
        graph, output = recorded(function, point)
        body = posted(gradd, "/v1/hessian", {"graph": graph, "output": output})
        gradient = np.concatenate([np.ravel(body["gradients"][name]["data"]) for name in ("w", "b")])
        if np.abs(gradient).max() < 1e-10:
            break
        blocks = body["hessian"]
        sizes = {"w": 30, "b": 1}
        matrix = np.block([[np.reshape(blocks[r][c]["data"], (sizes[r], sizes[c])) for c in sizes] for r in sizes])
        step = np.linalg.solve(matrix, gradient)
        point = {"w": point["w"] - step[:30], "b": point["b"] - step[30]}
        steps += 1
        assert steps < 12
    assert np.isfinite(point["w"]).all()
    assert logistic_regression is function.call


def test_greeks_to_the_third_order_have_their_closed_forms(gradd: Gradd) -> None:
    function = FUNCTIONS["black_scholes"]
    values = {name: float(value) for name, value in function.arguments.items()}
    spot, strike, rate, volatility, time = values.values()
    root = volatility * math.sqrt(time)
    d1 = (math.log(spot / strike) + (rate + volatility**2 / 2) * time) / root
    d2 = d1 - root
    density = math.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi)
    delta = 0.5 * math.erfc(-d1 / math.sqrt(2))
    gamma = density / (spot * root)
    vega = spot * density * math.sqrt(time)
    graph, output = recorded(function)
    body = posted(gradd, "/v1/hessian", {"graph": graph, "output": output})
    second = body["hessian"]
    expected = {
        ("spot", "spot"): gamma,
        ("spot", "volatility"): -density * d2 / volatility,  # vanna
        ("volatility", "volatility"): vega * d1 * d2 / volatility,  # volga
    }
    assert body["gradients"]["spot"]["data"] == pytest.approx(delta, rel=1e-12)
    assert body["gradients"]["volatility"]["data"] == pytest.approx(vega, rel=1e-12)
    for (row, column), value in expected.items():
        assert second[row][column]["data"] == pytest.approx(value, rel=1e-10)

    # Third order: the Hessian of delta, which is written as a graph of its own.
    recorder = Graph(function.arguments)
    backend = RecorderBackend(recorder)
    s, k, r, v, t = (recorder.argument(name) for name in values)
    result = backend.ndtr((backend.log(s / k) + (r + v * v * 0.5) * t) / (v * backend.sqrt(t)))
    third = posted(gradd, "/v1/hessian", {"graph": recorder.as_request(), "output": result.name})["hessian"]
    speed = -gamma / spot * (d1 / root + 1)
    zomma = gamma * (d1 * d2 - 1) / volatility
    ultima_delta = density * (d2 * (1 - d1 * d2) + d1) / volatility**2  # d(vanna)/d(volatility)
    assert third["spot"]["spot"]["data"] == pytest.approx(speed, rel=1e-10)
    assert third["spot"]["volatility"]["data"] == pytest.approx(zomma, rel=1e-10)
    assert third["volatility"]["volatility"]["data"] == pytest.approx(ultima_delta, rel=1e-10)
    assert black_scholes is function.call
