"""Plans give the same results however they are run: walked or as straight-line code, in blocks or node by node."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from engine.compile.compile import compile as compile_request
from engine.compile.compile import derived
from engine.compile.compiled import Compiled
from engine.compile.derivation import Derivation
from engine.compile.derivatives.gradients import GradientRequest
from engine.errors import DeadlineExceeded, ValueFault
from engine.execute.numpy import runner as executor
from engine.execute.numpy.lowering import plan
from engine.execute.numpy.runner import Runner
from engine.graph.function import Function
from engine.graph.graph import Builder, Tensor, building
from engine.graph.limits import Limits
from engine.graph.op import REGISTRY
from engine.graph.promotion import leaf
from engine.graph.types import float32, float64
from engine.optimize.fuse import Cluster, fused
from engine.program.program import Leaf, OpCall, Program, Ref

OPS = {name: REGISTRY[name].function for name in REGISTRY}


def values_of(wanted: list[Tensor], given: dict[str, np.ndarray], *, fuse: bool) -> list[np.ndarray]:
    """Run a plan."""
    made = plan(Function.of(wanted), fuse=fuse)
    return list(map(np.asarray, Runner(made).run({("tensors", name): value for name, value in given.items()})))


def programs(a: Tensor, b: Tensor, row: Tensor, scalar: Tensor) -> dict[str, list[Tensor]]:
    """Computations over (n, m) tensors that exercise every way of being in a cluster."""
    product = OPS["tanh"](a * b + scalar)
    shifted = a - OPS["amax"](a, -1, True)
    weights = OPS["exp"](shifted)
    return {
        "chain": [OPS["sum"](product * OPS["exp"](-(a * a)))],
        "row operand": [OPS["sigmoid"](a * row + scalar)],
        "column totals": [OPS["sum"](a * b, 0), OPS["sum"](a * a, 0, True)],
        "row sums inside": [weights / OPS["sum"](weights, -1, True)],
        "total read later": [OPS["sqrt"](OPS["sum"](a * a)) * a],
        "a value read twice": [product, product * 2, OPS["sum"](product)],
        "comparison": [OPS["where"](a > b, a * 2, b / 3), (a > b)],
        "transposed operand": [OPS["exp"](OPS["transpose"](a, 0, 1)) * 2],
        "reshaped": [OPS["exp"](OPS["reshape"](a * b, (-1,))) + 1],
        "expanded": [OPS["exp"](OPS["expand"](row, 300, 400) * a)],
        "integers": [OPS["sum"](OPS["gt"](a, 0.0))],
    }


NAMES = [
    "chain",
    "row operand",
    "column totals",
    "row sums inside",
    "total read later",
    "a value read twice",
    "comparison",
    "transposed operand",
    "reshaped",
    "expanded",
    "integers",
]


@pytest.mark.parametrize("name", NAMES)
def test_clusters_give_what_single_nodes_give(name: str) -> None:
    rng = np.random.default_rng(0)
    given = {
        "a": rng.standard_normal((300, 400)),
        "b": rng.standard_normal((300, 400)),
        "row": rng.standard_normal((1, 400)),
        "scalar": rng.standard_normal(()),
    }
    with building(Builder(Limits())):
        leaves = [leaf(("tensors", key), float64, value.shape) for key, value in given.items()]
        wanted = programs(*leaves)[name]
    for blocked, single in zip(values_of(wanted, given, fuse=True), values_of(wanted, given, fuse=False), strict=True):
        assert blocked.dtype == single.dtype
        np.testing.assert_allclose(blocked, single, rtol=1e-12, atol=1e-12)


def test_a_chain_and_its_gradient_are_one_cluster() -> None:
    shape = (2_000_000,)
    ops = (
        OpCall("mul", (Ref("a"), Ref("c")), {}, "ac"),
        OpCall("tanh", (Ref("ac"),), {}, "t"),
        OpCall("sum", (Ref("t"),), {}, "l"),
    )
    program = Program({name: Leaf(float32, shape, requires_grad=True) for name in "ac"}, ops, float32)
    _, compiled = derived(program, GradientRequest(), Limits())
    assert [len(unit.nodes) > 3 for unit in compiled.executions[0].plan.units].count(True) == 1
    assert compiled.peak_bytes <= 5 * 4 * shape[0]


def test_a_cluster_is_not_moved_past_what_it_needs() -> None:
    with building(Builder(Limits())):
        a = leaf(("tensors", "a"), float64, (300, 400))
        first = OPS["exp"](a)
        total = OPS["sum"](first)
        second = first / total
    groups = fused(Function((a,), (second,), (first.node, total.node, second.node)))
    seen: set[Tensor] = set()
    for group in groups:
        nodes = group.nodes if isinstance(group, Cluster) else [group]
        for node in nodes:
            assert all(t in seen or t is a for t in node.inputs)
            seen.update(node.outputs)


def small() -> tuple[Compiled, dict[tuple[str, str], Any]]:
    """A small gradient and values for it."""
    ops = (
        OpCall("linalg.inv", (Ref("a"),), {}, "i"),
        OpCall("log", (Ref("i"),), {}, "g"),
        OpCall("sum", (Ref("g"),), {}, "l"),
    )
    program = Program({"a": Leaf(float64, (2, 2), requires_grad=True)}, ops)
    values = {("tensors", "a"): np.array([[1.0, -0.2], [-0.3, 2.0]])}
    return compile_request(program, GradientRequest(), Limits()), values


def test_straight_line_code_gives_what_the_walk_gives() -> None:
    compiled, values = small()
    first = compiled.run(values)
    for _ in range(executor.WARM + 2):
        again = compiled.run(values)
    runner = compiled.executables[0]
    assert isinstance(runner, Runner)
    assert runner._compiled is not None
    np.testing.assert_array_equal(first["gradients"]["a"], again["gradients"]["a"])


def test_threads_that_run_one_plan_at_once_each_get_their_own_results() -> None:
    compiled, _ = small()
    given = [{("tensors", "a"): np.array([[1.0 + n, -0.2], [-0.3, 2.0]])} for n in range(8)]
    alone = [small()[0].run(values)["gradients"]["a"].tobytes() for values in given]
    start = threading.Barrier(len(given))

    def often(number: int) -> set[bytes]:
        start.wait()
        return {compiled.run(given[number])["gradients"]["a"].tobytes() for _ in range(300)}

    with ThreadPoolExecutor(len(given)) as threads:
        found = list(threads.map(often, range(len(given))))
    assert found == [{bits} for bits in alone]


def test_what_a_plan_keeps_is_not_written_by_who_gets_it() -> None:
    program = Program({"x": Leaf(float64, (3,), requires_grad=True)}, (OpCall("sum", (Ref("x"),), {}, "l"),))
    compiled = compile_request(program, GradientRequest(), Limits())
    gradient = compiled.run({("tensors", "x"): np.zeros(3)})["gradients"]["x"]
    with pytest.raises(ValueError, match="read-only"):
        gradient += 1


def test_a_run_leaves_numpy_s_warnings_as_they_are() -> None:
    compiled, values = small()
    before = np.geterr()
    for _ in range(executor.WARM + 2):
        compiled.run(values)
    assert np.geterr() == before


def test_a_refused_value_names_its_op_also_in_straight_line_code() -> None:
    compiled, values = small()
    for _ in range(executor.WARM + 2):
        compiled.run(values)
    with pytest.raises(ValueFault) as caught:
        compiled.run({("tensors", "a"): np.ones((2, 2))})
    assert caught.value.fault.path == ("graph", "ops", 0)


def test_a_deadline_ends_a_run_between_steps() -> None:
    compiled, values = small()
    with pytest.raises(DeadlineExceeded):
        compiled.run(values, deadline=0.0)


def test_a_chain_of_100_000_ops_builds_differentiates_runs_and_is_freed() -> None:
    count = 100_000
    ops = tuple(OpCall("sin", (Ref(f"x{n}" if n else "x"),), {}, f"x{n + 1}") for n in range(count))
    program = Program({"x": Leaf(float64, (), requires_grad=True)}, ops)
    compiled = compile_request(program, GradientRequest(), Limits())
    result = compiled.run({("tensors", "x"): np.array(0.5)})
    assert np.isfinite(result["gradients"]["x"])
    del compiled, program, ops


def test_equal_subexpressions_are_one_step() -> None:
    ops = (
        OpCall("exp", (Ref("x"),), {}, "y"),
        OpCall("exp", (Ref("x"),), {}, "z"),
        OpCall("mul", (Ref("y"), Ref("z")), {}, "p"),
    )
    program = Program({"x": Leaf(float64, (), requires_grad=True)}, ops)
    derivation = Derivation(program, GradientRequest(), Limits())
    assert derivation.lookup.tensor("y") is derivation.lookup.tensor("z")


def test_what_is_differentiated_by_is_not_merged_with_its_equal() -> None:
    ops = (
        OpCall("exp", (Ref("x"),), {}, "y"),
        OpCall("exp", (Ref("x"),), {}, "z"),
        OpCall("mul", (Ref("y"), 3.0), {}, "p"),
        OpCall("mul", (Ref("z"), 5.0), {}, "q"),
        OpCall("add", (Ref("p"), Ref("q")), {}, "l"),
    )
    program = Program({"x": Leaf(float64, (), requires_grad=True)}, ops)
    compiled = compile_request(program, GradientRequest(wrt=("x", "y", "z")), Limits())
    found = compiled.run({("tensors", "x"): np.array(0.0)})
    assert {name: float(value) for name, value in found["gradients"].items()} == {"x": 8.0, "y": 3.0, "z": 5.0}
