"""A function is held to its rules, and rewriting one changes no node."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from engine.autodiff.checkpoint import recomputed
from engine.execute.numpy.lowering import plan
from engine.execute.numpy.runner import Runner
from engine.graph.function import Function
from engine.graph.graph import Builder, Tensor, building
from engine.graph.limits import Limits
from engine.graph.op import REGISTRY
from engine.graph.promotion import leaf
from engine.graph.rewrite import Rewrite
from engine.graph.types import Shape, float32, float64
from engine.graph.verify import InvalidFunctionError
from engine.ops.shape.movement import PERMUTE
from tests.engine.programs import given

OPS = {name: op.function for name, op in REGISTRY.items()}
VALUES = {"x": np.array([[0.5, -1.0, 2.0]]), "y": np.array([3.0, 4.0, 0.25])}


@pytest.fixture
def example() -> Iterator[Function]:
    """The function from x of shape (1, 3) and y of shape (3) to sin(x) * y + exp(y), and to exp(y)."""
    with building(Builder(Limits())):
        x, y = (leaf(("tensors", name), float64, value.shape) for name, value in VALUES.items())
        grown = OPS["exp"](y)
        yield Function.of([OPS["sin"](x) * y + grown, grown])


def values(function: Function) -> list[np.ndarray]:
    return Runner(plan(function)).run(given(VALUES))


def of_type(tensor: Tensor, shape: Shape) -> Tensor:
    return Tensor(tensor.node, tensor.position, float32, shape, tensor.numel, tensor.requires_grad)


BROKEN: dict[str, tuple[str, Callable[[Function], object]]] = {
    "a node before what it reads": ("not defined before", lambda f: replace(f, nodes=f.nodes[::-1])),
    "a node twice": ("a second time", lambda f: replace(f, nodes=(*f.nodes, f.nodes[-1]))),
    "a missing node": ("not defined before", lambda f: replace(f, nodes=f.nodes[1:])),
    "a missing input": ("not defined before", lambda f: replace(f, inputs=f.inputs[1:])),
    "an input twice": ("given twice", lambda f: replace(f, inputs=(*f.inputs, f.inputs[0]))),
    "an input that a node gives": ("a second time", lambda f: replace(f, inputs=(*f.inputs, f.outputs[0]))),
    "an output that nothing gives": ("is not defined", lambda f: replace(f, nodes=(), outputs=f.outputs[:1])),
    "a node that nothing reads": ("no output depends", lambda f: replace(f, outputs=f.outputs[1:])),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_function_is_refused(name: str, example: Function) -> None:
    reason, broken = BROKEN[name]
    with pytest.raises(InvalidFunctionError, match=reason):
        broken(example)


def test_a_result_of_another_type_than_its_rule_gives_is_refused(example: Function) -> None:
    node = example.nodes[-1]
    node.outputs = (of_type(node.outputs[0], (1, 3)),)
    with pytest.raises(InvalidFunctionError, match="its rule gives"):
        replace(example, outputs=node.outputs)


def test_a_result_that_names_another_node_is_refused(example: Function) -> None:
    first, *_, last = example.nodes
    last.outputs = (Tensor(first, 0, float64, (1, 3), 3, requires_grad=False),)
    with pytest.raises(InvalidFunctionError, match="is not result 0"):
        replace(example, outputs=last.outputs)


def test_nodes_that_are_kept_are_the_same_nodes(example: Function) -> None:
    rewrite = Rewrite(example)
    for node in example.nodes:
        rewrite.keep(node)
    assert rewrite.function() == example


def test_what_reads_a_replaced_tensor_is_copied_and_all_else_kept(example: Function) -> None:
    rewrite = Rewrite(example)
    for node in example.nodes:
        if node.primitive.name == "sin":
            (turned,) = rewrite.add(PERMUTE, node.inputs, {"dims": (-1, -2)}, at=node)
            (back,) = rewrite.add(PERMUTE, (turned,), {"dims": (-1, -2)}, at=node)
            rewrite.replace(node.outputs[0], back)
        else:
            rewrite.keep(node)
    made = rewrite.function()
    assert made.inputs == example.inputs
    assert turned.shape == (3, 1)
    assert [node.primitive.name for node in made.nodes].count("sin") == 0
    assert [node in example.nodes for node in made.nodes if node.primitive.name == "exp"] == [True]
    x, y = VALUES.values()
    found = values(made)
    np.testing.assert_array_equal(found[0], x * y + np.exp(y))
    np.testing.assert_array_equal(found[1], np.exp(y))
    np.testing.assert_array_equal(values(example)[0], np.sin(x) * y + np.exp(y))


def test_nodes_that_no_output_depends_on_any_more_are_left_out(example: Function) -> None:
    rewrite = Rewrite(example)
    for node in example.nodes:
        rewrite.keep(node)
    rewrite.replace(*example.outputs)
    (node,) = rewrite.function().nodes
    assert node.primitive.name == "exp"


def test_recomputed_nodes_run_right_before_their_readers(example: Function) -> None:
    boundary = example.outputs[0].node.index
    again = recomputed(example, boundary, keep=[example.outputs[1]])
    assert [node.primitive.name for node in again.nodes] == ["exp", "sin", "mul", "_add"]
    assert [node.index for node in again.nodes[1:]] == [boundary] * 3
    for one, other in zip(values(again), values(example), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
