"""explain: what would run, what it costs and what it keeps, from shapes alone."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from engine.compile.compile import compile as compile_request
from engine.compile.derivatives.forward import ForwardRequest
from engine.compile.derivatives.gradients import GradientRequest
from engine.compile.derivatives.hessian import HessianRequest
from engine.compile.derivatives.jacobian import JacobianRequest
from engine.compile.explain import explain
from engine.compile.request import Request
from engine.errors import GraphError
from engine.execute.numpy.runner import Runner
from engine.graph.graph import Builder, Node, building
from engine.graph.limits import Limits
from engine.graph.op import REGISTRY
from engine.graph.promotion import leaf
from engine.graph.types import float32, float64
from engine.optimize.cost import Cost, flops
from engine.program.program import Leaf, OpCall, Program
from tests.engine.programs import call

LINEAR = Program(
    {"x": Leaf(float64, (128, 784)), "w": Leaf(float64, (784, 10), True), "b": Leaf(float64, (10,), True)},
    (
        call("matmul", "x", "w", output="z"),
        call("add", "z", "b", output="s"),
        call("tanh", "s", output="t"),
        call("sum", "t", output="loss"),
    ),
)


def explained(
    program: Program = LINEAR, request: Request | None = None, limits: Limits | None = None
) -> dict[str, Any]:
    """Return the explanation of a program's gradients, or of another request."""
    return explain(program, request or GradientRequest(), limits or Limits())


def steps(explanation: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the steps of the only plan."""
    (execution,) = explanation["plan"]["sweeps"]
    listed: list[dict[str, Any]] = execution["steps"]
    return listed


def test_it_is_json_and_has_the_dag() -> None:
    found = explained()
    assert json.loads(json.dumps(found)) == found
    assert [node["name"] for node in found["dag"]["nodes"]] == ["x", "w", "b", "z", "s", "t", "loss"]


def test_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runner, "run", lambda *_, **__: pytest.fail("it runs"))
    explained()
    explained(request=JacobianRequest(outputs=("s",), wrt=("b",)))


def test_steps_say_what_they_come_from_and_in_which_pass() -> None:
    listed = steps(explained())
    assert [(step["primitives"], step["ops"], step["pass"]) for step in listed[:4]] == [
        (["matmul"], ["z"], "forward"),
        (["add"], ["s"], "forward"),
        (["tanh"], ["t"], "forward"),
        (["sum"], ["loss"], "forward"),
    ]
    assert {step["pass"] for step in listed[4:]} == {"backward"}
    assert {name for step in listed[4:] for name in step["ops"]} == {"t", "s", "z"}


def test_a_product_of_matrices_costs_2nmk_and_reads_and_writes_its_tensors() -> None:
    product = steps(explained())[0]
    assert product["flops"] == 2 * 128 * 784 * 10
    assert product["bytes_read"] == 8 * (128 * 784 + 784 * 10)
    assert product["bytes_written"] == 8 * 128 * 10
    assert product["reads"][0] == {"slot": product["reads"][0]["slot"], "dtype": "float64", "shape": [128, 784]}


def test_totals_are_the_sums_of_steps() -> None:
    found = explained()
    for name in ("forward", "backward"):
        own = [step for step in steps(found) if step["pass"] == name]
        for figure in ("flops", "bytes_read", "bytes_written"):
            assert found["cost"][name][figure] == sum(step[figure] for step in own)
        assert found["cost"][name]["peak_bytes"] == max(step["held_bytes"] for step in own)
    total = found["cost"]["total"]
    assert total["flops"] == found["cost"]["forward"]["flops"] + found["cost"]["backward"]["flops"]
    assert total["peak_bytes"] == compile_request(LINEAR, GradientRequest(), Limits()).peak_bytes


def test_what_the_backward_pass_needs_is_said_with_the_op_that_needs_it() -> None:
    kept = explained()["kept"]
    assert kept == [
        {"name": "t", "op": "t", "dtype": "float64", "shape": [128, 10], "bytes": 10240, "needed_by": ["t"]}
    ]


def chain(layers: int, size: int) -> Program:
    """Return alternating sines and products with a weight."""
    calls: list[OpCall] = []
    before = "x"
    for layer in range(layers):
        calls.append(call("sin", before, output=f"s{layer}"))
        calls.append(call("mul", f"s{layer}", "w", output=f"m{layer}"))
        before = f"m{layer}"
    calls.append(call("sum", before, output="loss"))
    return Program({"x": Leaf(float64, (size,), True), "w": Leaf(float64, (size,))}, tuple(calls))


def test_checkpoints_keep_less() -> None:
    program = chain(16, 1000)
    everything = explained(program)
    cut = explained(program, GradientRequest(checkpoint=("m3", "m7", "m11")))
    assert len(everything["kept"]) == 15
    assert [kept["name"] for kept in cut["kept"]] == ["m11", "m7", "m3"]
    assert cut["cost"]["backward"]["flops"] > everything["cost"]["backward"]["flops"]
    assert cut["cost"]["total"]["peak_bytes"] < everything["cost"]["total"]["peak_bytes"]


def test_a_cluster_is_one_step_that_reads_and_writes_only_at_its_border() -> None:
    program = chain(4, 2**16)
    found = explained(program, ForwardRequest())
    assert found["plan"]["clusters"] == 1
    (cluster,) = [step for step in steps(found) if step["cluster"]]
    assert len(cluster["primitives"]) > 2
    assert cluster["bytes_read"] == 2 * 8 * 2**16
    assert cluster["bytes_written"] == 8
    assert found["kept"] == []


def test_names_are_kept_under_vmap() -> None:
    program = Program({"x": Leaf(float64, (3, 5), True)}, (call("exp", "x", output="y"), call("sum", "y", output="s")))
    found = explained(program, GradientRequest(vmap={"x": 0}))
    assert found["vmap"] == {"size": 3, "loops": []}
    assert steps(found)[0]["pass"] == "forward"
    squares = Program({"x": Leaf(float64, (3, 5), True)}, (call("tanh", "x", output="y"), call("sum", "y", output="s")))
    assert [kept["name"] for kept in explained(squares, GradientRequest(vmap={"x": 0}))["kept"]] == ["y"]


def test_passes_saved_by_colouring() -> None:
    program = chain(2, 40)
    assert explained(program, JacobianRequest(outputs=("m1",), mode="forward"))["passes"] == {
        "mode": "forward",
        "passes": 1,
        "without_colouring": 40,
        "saved": 39,
    }
    assert explained(program, HessianRequest())["passes"]["saved"] == 39
    assert explained(program)["passes"] is None


def test_directions_in_batches_run_as_often_as_there_are_batches() -> None:
    program = Program(
        {"x": Leaf(float64, (30,), True), "w": Leaf(float64, (30, 30))},
        (call("tanh", "x", output="t"), call("matmul", "w", "t", output="z"), call("softmax", "z", 0, output="y")),
    )
    request = JacobianRequest(mode="forward")
    whole = explained(program, request)
    room = Limits(bytes=whole["cost"]["total"]["peak_bytes"] - 1)
    parts = explained(program, request, room)
    assert [execution["runs"] for execution in whole["plan"]["sweeps"]] == [1, 1]
    assert parts["plan"]["sweeps"][-1]["runs"] > 1
    assert parts["limits"]["bytes"]["headroom"] >= 0


def test_limits_are_held_against_what_is_needed() -> None:
    limits = explained()["limits"]
    assert limits["bytes"]["needed"] + limits["bytes"]["headroom"] == limits["bytes"]["limit"] == Limits().bytes
    assert limits["elements"]["needed"] == 128 * 784
    assert limits["rank"]["needed"] == 2
    assert 10 < limits["nodes"]["needed"] < 30


def test_what_takes_too_much_memory_is_explained_and_has_no_headroom() -> None:
    tight = Limits(bytes=1000)
    with pytest.raises(GraphError):
        compile_request(LINEAR, GradientRequest(), tight)
    assert explained(limits=tight)["limits"]["bytes"]["headroom"] < 0


def test_half_the_bytes_in_single_precision() -> None:
    single = Program({name: Leaf(float32, t.shape, t.requires_grad) for name, t in LINEAR.tensors.items()}, LINEAR.ops)
    ratio = {
        figure: explained(single)["cost"]["total"][figure] / explained()["cost"]["total"][figure]
        for figure in ("flops", "bytes_read", "bytes_written")
    }
    assert ratio == {"flops": 1.0, "bytes_read": 0.5, "bytes_written": 0.5}


def node_of(name: str, *shapes: tuple[int, ...], **attributes: Any) -> Node:
    """Return the last node that an op makes of tensors of these shapes."""
    with building(Builder(Limits())) as builder:
        tensors = [leaf(("tensors", str(k)), float64, shape) for k, shape in enumerate(shapes)]
        REGISTRY[name].function(*tensors, **attributes)
        return next(node for node in reversed(builder.nodes) if node.inputs and not node.primitive.view)


@pytest.mark.parametrize(
    ("name", "shapes", "expected"),
    [
        ("add", [(3, 4), (4,)], 12),
        ("exp", [(3, 4)], 120),
        ("sum", [(3, 4)], 12),
        ("amax", [(3, 4)], 12),
        ("cumsum", [(5,)], 5),
        ("matmul", [(2, 3, 4), (4, 5)], 2 * 6 * 4 * 5),
        ("linalg.cholesky", [(2, 6, 6)], 2 * 72),
        ("linalg.inv", [(6, 6)], 2 * 216),
        ("linalg.solve", [(6, 6), (6, 2)], 144 + 2 * 72),
        ("linalg.det", [(6, 6)], 144),
        ("reshape", [(3, 4)], 0),
        ("flip", [(3, 4)], 0),
    ],
)
def test_operations_by_kind(name: str, shapes: list[tuple[int, ...]], expected: int) -> None:
    arguments: dict[str, dict[str, Any]] = {
        "cumsum": {"dim": 0},
        "reshape": {"shape": (12,)},
        "flip": {"dims": (0,)},
    }
    if name in ("reshape", "flip"):
        with building(Builder(Limits())):
            made = REGISTRY[name].function(leaf(("tensors", "x"), float64, shapes[0]), **arguments[name])
        assert flops(made.node) == expected
        return
    assert flops(node_of(name, *shapes, **arguments.get(name, {}))) == expected


def test_costs_add_and_multiply() -> None:
    assert Cost(1, 2, 3) + Cost(4, 5, 6) * 2 == Cost(9, 12, 15)


def test_faults_are_those_of_compile() -> None:
    with pytest.raises(GraphError, match="no op"):
        explained(Program({"x": Leaf(float64, (1,), True)}, (call("expp", "x", output="y"),)))


def test_a_step_for_every_node_of_a_large_graph_takes_little_time() -> None:
    program = chain(1000, 4)
    found = explained(program)
    assert len(steps(found)) > 3000
    assert np.isfinite(found["cost"]["total"]["flops"])
