"""What primitives declare of themselves is so: laws over every primitive, on the samples of all ops and gradients."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.primitive_cost import GROWING, batched_sample, grown_call
from engine.compile import compile as compile_request
from engine.cost import step_cost
from engine.derivatives.forward import ForwardRequest
from engine.derivatives.gradients import GradientRequest
from engine.derivatives.jacobian import JacobianRequest
from engine.estimate import estimate
from engine.function import Function
from engine.graph import Node, Tensor, Traits, Type
from engine.op import REGISTRY, elementwise
from engine.primitive import PRIMITIVES, linear, multilinear, primitive, require_traits
from engine.program import Leaf, Limits, Program
from engine.samples import Sample
from engine.traits import arrays, moves
from engine.types import float32
from tests.engine.programs import call, program
from tests.engine.test_laws import CASES, gradients, recorded, traced


def label(made: Traits) -> str:
    """The name of a primitive, with its file: two files may have one of the same name."""
    return f"{made.function.__module__.rpartition('.')[2]}.{made.name}"


# What must be declared


@pytest.fixture
def undone() -> Iterator[None]:
    """Take back the primitives that a test makes."""
    before = list(PRIMITIVES)
    yield
    PRIMITIVES[:] = before


@pytest.mark.usefixtures("undone")
@pytest.mark.parametrize(
    ("make", "trait"),
    [
        (primitive(memory=arrays(1), trailing=0), "cost"),
        (primitive(cost=moves, trailing=0), "memory"),
        (primitive(cost=moves, memory=arrays(1)), "trailing"),
        (linear(memory=arrays(1)), "cost"),
        (linear(cost=moves, view=True, may_copy=True), "memory"),
        (multilinear(cost=moves, memory=arrays(1)), "trailing"),
        (elementwise(np.sin), "analytic"),
        (elementwise(np.gcd, analytic=False), "cost"),
        (elementwise(abs, weight=1, analytic=False), "memory"),
        (elementwise(abs, spare=1, analytic=False), "cost"),
    ],
)
def test_a_primitive_that_lacks_a_declaration_fails_at_import_by_name(make: Any, trait: str) -> None:
    def _unheard_of(tensor: Tensor) -> Type:
        return Type(tensor.dtype, tensor.shape)

    make(_unheard_of)
    with pytest.raises(TypeError, match=f"primitive _unheard_of of tests.engine.test_traits declares no {trait}"):
        require_traits()


def test_all_primitives_are_complete() -> None:
    require_traits()
    assert len(PRIMITIVES) > 130


@pytest.mark.parametrize("path", sorted(Path("engine").rglob("*.py")), ids=str)
def test_no_file_outside_the_ops_names_a_primitive(path: Path) -> None:
    """Ops are named in hints, where users write them, and in Python's operators; `sign` is a trait's name too."""
    if path.is_relative_to("engine/ops"):
        return
    tree = ast.parse(path.read_text())
    looked_up = {
        id(node.slice)
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "OPERATORS"
    }
    names = {made.name for made in PRIMITIVES}
    found = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in names and id(node) not in looked_up
    }
    assert path == Path("engine/hints.py") or found <= ({"sign"} if path.name == "primitive.py" else set())


# Nodes of all primitives


def nodes_of(name: str, sample: Sample) -> Iterator[Node]:
    """Yield the nodes of an op on a sample, of its gradients and of gradients of these."""
    case = traced(name, sample)
    wanted, outputs = list(case.results), recorded(case)
    for _ in range(2):
        if not outputs:
            break
        found, _ = gradients(case, outputs, np.random.default_rng(2))
        outputs = [gradient for gradient in found.values() if gradient.requires_grad]
        wanted += list(found.values())
    yield from Function.of(wanted).nodes


UNMET = {
    "autograd._marked": "results that are differentiated by",
    "embedding._scale_gradient": "a third derivative",
    "max_pooling._window_take": "a third derivative",
    "operands._leaf": "inputs",
    "seed._forked": "draws of a batch",
    "slicing._beside": "plans alone",
}
"""Primitives that samples and two derivatives do not come to, and where they are met."""


def test_every_primitive_is_met_by_the_samples() -> None:
    samples = [(name, sample) for name, op in REGISTRY.items() for sample in op.samples]
    met = {node.primitive for name, sample in samples for node in nodes_of(name, sample)}
    assert {label(p) for p in PRIMITIVES if p not in met} == set(UNMET)


# Operations


class Counted(np.ndarray):
    """An array that counts the elements that ufuncs compute from it, and the operations of products."""

    total = 0

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **named: Any) -> Any:
        plain = [np.asarray(value) if isinstance(value, Counted) else value for value in inputs]
        if out is not None:
            named["out"] = tuple(np.asarray(array) if isinstance(array, Counted) else array for array in out)
        made = getattr(ufunc, method)(*plain, **named)
        first = made[0] if isinstance(made, tuple) else made
        sizes = [np.size(first)] if method == "__call__" else [np.size(plain[0])]
        if ufunc is np.matmul:
            sizes.append(2 * np.size(first) * np.shape(plain[0])[-1])
        Counted.total += max(sizes)
        if out is not None:
            return out[0]
        return tuple(map(counted, made)) if isinstance(made, tuple) else counted(made)


def counted(array: Any) -> Any:
    """Return an array, or a number, as one that counts."""
    return np.asarray(array).view(Counted)


def count(node: Node, arrays: list[Any]) -> tuple[int, list[Any]]:
    """Return the elements that the node's kernel computes with ufuncs, and the results."""
    Counted.total = 0
    made = node.primitive.bind(node.params)(*map(counted, arrays))
    results = made if node.primitive.several else (made,)
    return Counted.total, [np.array(result, copy=None, subok=False) for result in results]


CALLS = 100
"""Elements below which counting is of the bookkeeping of a kernel."""


def check_counts(wanted: list[Tensor], values: dict[Any, Any]) -> None:
    """Hold each node's predicted operations and bytes against the elements that its kernel computes."""
    function = Function.of(wanted)
    memory = {tensor: values[tensor.node.params["source"]] for tensor in function.inputs}
    with np.errstate(all="ignore"):
        for node in function.nodes:
            found, results = count(node, [memory[tensor] for tensor in node.inputs])
            memory.update(zip(node.outputs, results, strict=True))
            cost = step_cost([node], node.inputs, node.outputs)
            predicted = cost.effort + cost.bytes_read + cost.bytes_written
            assert found <= predicted + CALLS, label(node.primitive)


@pytest.mark.parametrize("many", [1, 8, 64])
@pytest.mark.parametrize(("name", "sample"), CASES)
def test_predicted_operations_cover_the_counted_ones(name: str, sample: Sample, many: int) -> None:
    check_counts(*batched_sample(name, sample, many))


@pytest.mark.parametrize("scale", [2, 6, 18])
@pytest.mark.parametrize("number", range(len(GROWING)), ids=[grown.op for grown in GROWING])
def test_predicted_operations_grow_with_parameters(number: int, scale: int) -> None:
    check_counts(*grown_call(GROWING[number], scale))


@pytest.mark.parametrize("op", ["max_pool2d", "avg_pool2d"])
@pytest.mark.parametrize("backward", [False, True], ids=["value", "gradient"])
def test_pooling_counts_every_place_of_every_window(op: str, backward: bool) -> None:
    """At 15 operations a nanosecond, windows of 100 x 100 take over a tenth of a second."""
    made = Program(
        {"x": Leaf(float32, (1, 1, 1, 1), True)},
        (
            call("expand", "x", 1, 1, 512, 512, output="image"),
            call(op, "image", 100, 1, output="y"),
            call("sum", "y", output="total"),
        ),
    )
    found = estimate(compile_request(made, GradientRequest() if backward else ForwardRequest(), Limits()))
    assert found.cost.flops >= (2 if backward else 1) * (512 - 99) ** 2 * 100**2
    assert found.seconds > 0.1


MATRICES: dict[str, tuple[int, tuple[Any, ...], int]] = {
    "cholesky": (1, (), 1),
    "inverse": (1, (), 1),
    "linalg.cholesky": (1, (), 1),
    "linalg.det": (1, (), 1),
    "linalg.inv": (1, (), 1),
    "linalg.matmul": (2, (), 1),
    "linalg.matrix_norm": (1, (), 1),
    "linalg.matrix_power": (1, (3,), 1),
    "linalg.slogdet": (1, (), 2),
    "linalg.solve": (2, (), 1),
    "linalg.solve_triangular": (2, (), 1),
    "linalg.svd": (1, (False,), 3),
    "linalg.svdvals": (1, (), 1),
    "logdet": (1, (), 1),
}
"""Ops of linear algebra on batches: how many matrices they take, what other arguments, how many results they have."""


def passes(name: str, batch: int) -> list[int]:
    """Return the passes of the Jacobian of an op on a batch of matrices of 4 x 4."""
    count, others, results = MATRICES[name]
    values = {f"t{number}": np.zeros((batch, 4, 4)) for number in range(count)}
    named = {"upper": True} if name == "linalg.solve_triangular" else {}
    outputs = "y" if results == 1 else tuple(f"y{number}" for number in range(results))
    made = program(values, call(name, *values, *others, output=outputs, **named))
    wanted = JacobianRequest(outputs=("y" if results == 1 else "y1",), mode="forward")
    return [sweep.basis.count for sweep in compile_request(made, wanted, Limits()).sweeps if sweep.basis]


@pytest.mark.parametrize("name", MATRICES)
def test_a_batch_of_matrices_takes_as_many_passes_as_one(name: str) -> None:
    assert passes(name, 50) == passes(name, 1)
    assert sum(passes(name, 1)) <= 16 * MATRICES[name][0]


def test_no_op_of_linear_algebra_is_left_out() -> None:
    left = {name for name in REGISTRY if name.startswith("linalg.")} - set(MATRICES)
    assert left == {"linalg.multi_dot", "linalg.norm", "linalg.vecdot", "linalg.vector_norm"}  # without a batch of them
