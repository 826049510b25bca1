"""How a plan groups its nodes: views stay outside of clusters, and products that can are made two at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from engine.autodiff.reverse import backward
from engine.compile.compile import derived
from engine.compile.derivatives.gradients import GradientRequest
from engine.compile.derivatives.seeds import ones
from engine.execute.numpy.lowering import plan
from engine.execute.numpy.runner import Runner, numpy_executor
from engine.execute.numpy.tiles import build
from engine.graph import threads as cores
from engine.graph.function import Function
from engine.graph.graph import Builder, Node, Tensor, building
from engine.graph.limits import Limits
from engine.graph.op import REGISTRY
from engine.graph.promotion import leaf
from engine.graph.types import float64
from engine.graph.verify import verify
from engine.optimize import fuse
from engine.optimize import parallel_matmuls as pairs
from engine.optimize.fuse import Cluster, fused
from engine.optimize.parallel_matmuls import Pair, paired
from tests.engine.programs import call, given, program

OPS = {name: REGISTRY[name].function for name in REGISTRY}


def nodes_of(group: Node | Cluster | Pair) -> Sequence[Node]:
    return [group] if isinstance(group, Node) else group.nodes


def names_of(group: Node | Cluster | Pair) -> list[str]:
    return [node.primitive.name for node in nodes_of(group)]


def running(*tensors: Tensor) -> Function:
    """Return the function of tensors to which constants are given, as plans group it."""
    whole = Function.of(tensors)
    constants = [node.outputs[0] for node in whole.nodes if not node.inputs]
    return Function((*constants, *whole.inputs), tensors, tuple([node for node in whole.nodes if node.inputs]))


def test_views_before_and_behind_a_cluster_are_not_part_of_it() -> None:
    with building(Builder(Limits())):
        a, other = (leaf(("tensors", name), float64, (300, 400)) for name in ("a", "other"))
        first = OPS["exp"](a) * 2
        product = OPS["reshape"](other, (300, 400, 1))
        mask = OPS["sin"](first) * OPS["reshape"](product, (300, 400))
        turned = OPS["transpose"](OPS["reshape"](mask, (300, 20, 20)), 1, 2)
    groups = fused(running(turned))
    assert list(map(names_of, groups)) == [
        ["_reshape"],
        ["_reshape"],
        ["exp", "mul", "sin", "mul"],
        ["_reshape"],
        ["_permute"],
    ]


def test_views_that_a_cluster_reads_itself_stay_inside() -> None:
    with building(Builder(Limits())):
        a = leaf(("tensors", "a"), float64, (300, 400))
        result = OPS["exp"](OPS["reshape"](OPS["sin"](a), (300, 20, 20)))
    assert list(map(names_of, fused(running(result)))) == [["sin", "_reshape", "exp"]]


STEPS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "product": lambda a, b, row: OPS["tanh"](OPS["matmul"](a, b)),
    "layer": lambda a, b, row: OPS["tanh"](OPS["linear"](a, b, row)),
    "sum": lambda a, b, row: a + b,
    "difference": lambda a, b, row: a - OPS["neg"](b),
    "opposite product": lambda a, b, row: OPS["neg"](a) * b * 0.5,
    "rectifier": lambda a, b, row: OPS["relu"](a),
    "choice": lambda a, b, row: OPS["where"](a > 0.1, a, b),
    "bounds": lambda a, b, row: OPS["clamp"](a, -0.5, 0.7),
    "row": lambda a, b, row: OPS["sin"](a * row),
    "transpose": lambda a, b, row: OPS["transpose"](a, 0, 1),
    "reshape": lambda a, b, row: OPS["reshape"](OPS["cos"](OPS["reshape"](a, (-1,))), a.shape),
    "softmax": lambda a, b, row: OPS["softmax"](a, -1),
    "normalization": lambda a, b, row: OPS["layer_norm"](a, row.shape),
    "column sums": lambda a, b, row: OPS["tanh"](OPS["sum"](a, 0, True)) * b,
    "row sums": lambda a, b, row: OPS["tanh"](OPS["sum"](a, 1, True)) * b,
    "total": lambda a, b, row: OPS["tanh"](OPS["sum"](a)) * b,
}
"""Steps of random graphs, of square matrices and a row."""


@pytest.mark.parametrize("seed", range(40))
def test_a_graph_gives_the_same_however_it_is_grouped(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in (
        (fuse, "SMALLEST", 2),
        (fuse, "ALONE", 2),
        (build, "BLOCK", 64),
        (build, "WORTH_THREADS", 0),
        (build, "CORES", 2),
        (cores, "CORES", 2),
        (pairs, "CORES", 2),
        (pairs, "LEAST", 0),
    ):
        monkeypatch.setattr(module, name, value)
    rng = np.random.default_rng(seed)
    size = int(rng.choice([4, 6, 9]))
    values = {name: rng.standard_normal((size, size)) for name in "abc"} | {"row": rng.standard_normal(size)}
    with building(Builder(Limits())):
        leaves = [leaf(("tensors", name), float64, value.shape, requires_grad=True) for name, value in values.items()]
        *found, row = leaves
        for name in rng.choice(list(STEPS), 20):
            one, other = rng.choice(len(found), 2)
            found.append(STEPS[name](found[one], found[other], row))
        loss = OPS["sum"](found[-1]) + OPS["sum"](found[-3])
        wanted = [loss, *[gradient for gradient in backward([(loss, ones(loss))], leaves) if gradient is not None]]
    whole = running(*wanted)
    groups = paired(fused(whole))
    verify(Function(whole.inputs, whole.outputs, tuple([node for group in groups for node in nodes_of(group)])))
    single, grouped = (Runner(plan(Function.of(wanted), fuse=way)).run(given(values)) for way in (False, True))
    for one, other in zip(single, grouped, strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-9, atol=1e-11)


LAYER = {
    "x": np.random.default_rng(0).standard_normal((200, 300)),
    "v": np.random.default_rng(1).standard_normal((250, 300)),
    "w": np.random.default_rng(2).standard_normal((220, 250)),
}
CALLS = (
    call("linear", "x", "v", output="h"),
    call("tanh", "h", output="bent"),
    call("linear", "bent", "w", output="z"),
    call("sum", "z", output="loss"),
)


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "CORES", 2)


def gradients(values: Mapping[str, np.ndarray]) -> tuple[list[list[str]], Mapping[str, np.ndarray]]:
    """Return the primitives of each step, and the gradients."""
    _, compiled = derived(program(values, *CALLS), GradientRequest(), Limits())
    steps = [[node.primitive.name for node in unit.nodes] for unit in compiled.executions[0].plan.units]
    return steps, compiled.executable(numpy_executor).run(given(values))["gradients"]


@pytest.mark.usefixtures("two_cores")
def test_the_gradients_of_a_layer_s_input_and_weight_are_a_pair() -> None:
    steps, found = gradients(LAYER)
    assert ["_matmul", "_matmul"] in steps
    assert sum(step.count("_matmul") for step in steps) == 6
    bent = np.tanh(LAYER["x"] @ LAYER["v"].T)
    above = np.ones((200, 220)) @ LAYER["w"] * (1 - bent**2)
    np.testing.assert_allclose(found["w"], np.ones((220, 200)) @ bent, rtol=1e-10)
    np.testing.assert_allclose(found["v"], above.T @ LAYER["x"], rtol=1e-10)
    np.testing.assert_allclose(found["x"], above @ LAYER["v"], rtol=1e-10)


def test_one_core_makes_no_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "CORES", 1)
    steps, _ = gradients(LAYER)
    assert ["_matmul", "_matmul"] not in steps


@pytest.mark.usefixtures("two_cores")
def test_products_that_need_one_another_are_no_pair() -> None:
    with building(Builder(Limits())):
        a = leaf(("tensors", "a"), float64, (200, 200))
        first = OPS["matmul"](a, a)
        second = OPS["matmul"](first, a)
        third = OPS["matmul"](OPS["transpose"](second, 0, 1), first)
    groups = paired(running(third).nodes)
    assert all(isinstance(group, Node) for group in groups)
    seen: set[Tensor] = {a}
    for group in groups:
        assert all(tensor in seen for node in nodes_of(group) for tensor in node.inputs)
        seen.update(tensor for node in nodes_of(group) for tensor in node.outputs)


@pytest.mark.usefixtures("two_cores")
def test_a_pair_gives_what_its_products_give_and_runs_when_both_can() -> None:
    rng = np.random.default_rng(3)
    values = {name: rng.standard_normal((200, 200)) for name in "abcd"}
    with building(Builder(Limits())):
        a, b, c, d = (leaf(("tensors", name), float64, (200, 200)) for name in "abcd")
        products = [OPS["matmul"](a, b), OPS["matmul"](OPS["transpose"](c, 0, 1), d), OPS["matmul"](b, c)]
        wanted = [*products, OPS["matmul"](products[0], products[1])]
    groups = paired(running(*wanted).nodes)
    assert [len(nodes_of(group)) for group in groups].count(2) == 2
    found = Runner(plan(Function.of(wanted))).run(given(values))
    first, second = values["a"] @ values["b"], values["c"].T @ values["d"]
    for one, other in zip(found, [first, second, values["b"] @ values["c"], first @ second], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)


def test_the_gradient_of_a_transposed_weight_is_laid_out_like_the_weight() -> None:
    _, found = gradients(LAYER)
    assert found["v"].flags.c_contiguous
    assert found["w"].flags.c_contiguous
