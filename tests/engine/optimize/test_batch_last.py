"""Between convolutions images keep their batch last, and values are those of a plan that leaves them as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from engine.autodiff.forward import jvp
from engine.autodiff.reverse import backward
from engine.autodiff.vmap import batched
from engine.execute.numpy.lowering import plan
from engine.execute.numpy.runner import Runner
from engine.graph.function import Function
from engine.graph.graph import Builder, Tensor, building
from engine.graph.limits import Limits
from engine.graph.op import REGISTRY
from engine.graph.primitive import PRIMITIVES
from engine.graph.promotion import leaf
from engine.graph.types import float64
from engine.plan.plan import Plan

OPS = {name: op.function for name, op in REGISTRY.items()}

Network = Callable[[Any, Any, Any], Any]

NETWORKS: dict[str, Network] = {
    "elementwise": lambda x, v, w: OPS["conv2d"](OPS["tanh"](OPS["conv2d"](x, v, padding=1)) * 2, w),
    "largest": lambda x, v, w: OPS["conv2d"](OPS["max_pool2d"](OPS["conv2d"](x, v, padding=1), 2, 1, 1), w),
    "means": lambda x, v, w: OPS["conv2d"](OPS["avg_pool2d"](OPS["relu"](OPS["conv2d"](x, v)), 2, 1, 1), w),
    "adaptive": lambda x, v, w: OPS["adaptive_max_pool2d"](OPS["conv2d"](OPS["conv2d"](x, v), w), (2, 2)),
    "what goes around": lambda x, v, w: OPS["relu"](OPS["conv2d"](x, v, padding=1) + x),
    "a row of channels": lambda x, v, w: OPS["conv2d"](x, v) * OPS["reshape"](OPS["sum"](w, (1, 2, 3)), (3, 1, 1)),
    "an element for each image": lambda x, v, w: OPS["conv2d"](x, v) * OPS["sum"](x, (1, 2, 3), True),
    "narrowed and padded": lambda x, v, w: OPS["conv2d"](
        OPS["pad"](OPS["narrow"](OPS["conv2d"](x, v), -1, 1, 3), (1, 2), value=0.5), w
    ),
    "narrowed channels": lambda x, v, w: OPS["exp"](OPS["narrow"](OPS["conv2d"](x, v), 1, 1, 2)),
    "read twice": lambda x, v, w: OPS["conv2d"](OPS["conv2d"](x, v, padding=1), w) * OPS["mean"](OPS["conv2d"](x, v)),
    "flattened": lambda x, v, w: OPS["softmax"](OPS["flatten"](OPS["relu"](OPS["conv2d"](x, v)), 1), -1),
    "other ranks": lambda x, v, w: OPS["conv1d"](OPS["flatten"](OPS["conv2d"](x, v), 2), OPS["flatten"](w, 2)),
    "transposed": lambda x, v, w: OPS["sigmoid"](OPS["conv_transpose2d"](OPS["relu"](OPS["conv2d"](x, v)), w)),
}


@pytest.fixture
def values() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"x": (4, 3, 6, 7), "v": (3, 3, 3, 3), "w": (3, 3, 2, 2), "t": (4, 3, 6, 7), "many": (2, 4, 3, 6, 7)}
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}


def wanted(name: str, values: dict[str, np.ndarray]) -> list[Tensor]:
    """Return a network's result, its gradients, a tangent, second derivatives, and all of them for several inputs."""
    with building(Builder(Limits())):
        tensors = {
            key: leaf(("tensors", key), float64, value.shape, requires_grad=True) for key, value in values.items()
        }
        x, v, w = (tensors[key] for key in "xvw")
        made = NETWORKS[name](x, v, w)
        loss = OPS["sum"](OPS["square"](made))
        one = OPS["ones"]()
        gradients = [found for found in backward([(loss, one)], [x, v, w]) if found is not None]
        (tangent,) = jvp([gradients[0]], {x: tensors["t"]})
        second = backward([(OPS["sum"](OPS["square"](gradients[0])), one)], [v])
        results = [made, *gradients, *[found for found in (tangent, *second) if found is not None]]
        return [*results, *batched(results, {x: tensors["many"]}, 2)]


def run(made: Plan, values: dict[str, np.ndarray]) -> list[np.ndarray]:
    return Runner(made).run({("tensors", key): value for key, value in values.items()})


@pytest.mark.parametrize("name", NETWORKS)
def test_values_and_derivatives_are_the_same(
    name: str, values: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = wanted(name, values)
    found = run(plan(Function.of(tensors)), values)
    for primitive in PRIMITIVES:
        monkeypatch.setattr(primitive, "channels_first", False)
    expected = run(plan(Function.of(tensors)), values)
    for tensor, one, other in zip(tensors, found, expected, strict=True):
        assert one.shape == tensor.shape
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)


def permutations(network: Network, values: dict[str, np.ndarray]) -> int:
    """Return how many permutations the plan of a network's gradients runs."""
    with building(Builder(Limits())):
        x, v, w = (leaf(("tensors", key), float64, values[key].shape, requires_grad=key != "x") for key in "xvw")
        loss = OPS["sum"](network(x, v, w))
        gradients = backward([(loss, OPS["ones"]())], [v, w])
        made = plan(Function.of([loss, *[gradient for gradient in gradients if gradient is not None]]))
    return sum(node.primitive.name == "_permute" for unit in made.units for node in unit.nodes)


def test_between_convolutions_nothing_is_permuted(values: dict[str, np.ndarray]) -> None:
    first = permutations(lambda x, v, w: OPS["conv2d"](x, v), values)
    inner = permutations(NETWORKS["largest"], values)
    assert inner == first
