"""What primitives declare of themselves is so: laws over every primitive, on the samples of all ops and gradients."""

from __future__ import annotations

import ast
import itertools
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.primitive_cost import GROWING, batched_sample, grown_call
from engine.autodiff.reverse import backward
from engine.compile.compile import compile as compile_request
from engine.compile.derivatives.forward import ForwardRequest
from engine.compile.derivatives.gradients import GradientRequest
from engine.compile.derivatives.jacobian import JacobianRequest
from engine.compile.estimate import estimate
from engine.execute.numpy.kernels import lowered
from engine.execute.numpy.lowering import plan
from engine.execute.numpy.runner import Runner
from engine.graph.elementwise import Elementwise
from engine.graph.function import Function
from engine.graph.graph import Builder, Node, Tensor, Traits, Type, building
from engine.graph.limits import Limits
from engine.graph.op import REGISTRY, elementwise
from engine.graph.primitive import PRIMITIVES, linear, multilinear, primitive, require_traits
from engine.graph.promotion import leaf
from engine.graph.samples import Sample
from engine.graph.signs import Sign
from engine.graph.traits import arrays, moves, size
from engine.graph.types import float32, float64
from engine.optimize.cost import step_cost, workspace
from engine.program.program import Leaf, Program
from tests.engine.ops.test_laws import CASES, gradients, recorded, traced
from tests.engine.programs import call, program


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
    with pytest.raises(TypeError, match=f"primitive _unheard_of of tests.engine.ops.test_traits declares no {trait}"):
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
    assert path == Path("engine/hints/names.py") or found <= ({"sign"} if path.name == "primitive.py" else set())


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
    "promotion._leaf": "inputs",
    "seed._forked": "draws of a batch",
    "slicing._concat_pads": "plans alone",
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


# Memory

BUFFERS = 4 * 8192 * 8 + 20_000
"""Bytes of the buffers of a loop over four operands, and of Python's own objects."""


@pytest.mark.parametrize(("name", "sample"), CASES)
def test_a_kernel_takes_no_more_memory_than_declared(name: str, sample: Sample) -> None:
    wanted, values = batched_sample(name, sample, 1000)
    function = Function.of(wanted)
    memory = {tensor: values[tensor.node.params["source"]] for tensor in function.inputs}
    tracemalloc.start()
    try:
        for node in function.nodes:
            kernel, extra, params = lowered(node)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            with np.errstate(all="ignore"):
                made = kernel(*[memory[tensor] for tensor in node.inputs], *extra, **params)
            taken = tracemalloc.get_traced_memory()[1] - before
            memory.update(zip(node.outputs, made if node.primitive.several else (made,), strict=True))
            results = sum(map(size, node.outputs))
            assert taken <= results + workspace(node) + BUFFERS, label(node.primitive)
    finally:
        tracemalloc.stop()


# Values and slopes of elementwise primitives

GRID = (-30.0, -3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 30.0)


@dataclass(frozen=True)
class Applied:
    """An elementwise primitive with parameters, on every combination of a grid for its operands."""

    primitive: Elementwise
    params: dict[str, Any]

    def points(self) -> list[np.ndarray]:
        """The values of each operand."""
        grids = np.meshgrid(*[GRID] * len(self.primitive.tensors))
        return [grid.ravel() for grid in grids]

    def values(self, *arrays: np.ndarray) -> np.ndarray:
        """The values of the kernel."""
        with np.errstate(all="ignore"):
            return np.asarray(self.primitive.bind(self.params)(*arrays))

    def slopes(self) -> np.ndarray:
        """The slopes by each operand, (operand, point), from the gradient rules."""
        points = self.points()
        with building(Builder(Limits())):
            ruled = self.primitive.rules if self.primitive.joint is None else range(len(points))
            given = [leaf(("", str(n)), float64, grid.shape, n in ruled) for n, grid in enumerate(points)]
            result = self.primitive(*given, **self.params)
            found = backward([(result, REGISTRY["ones_like"].function(result))], given)
            zeros = REGISTRY["zeros_like"].function(given[0])
            wanted = [zeros if gradient is None else gradient for gradient in found]
        made = Runner(plan(Function.of(wanted))).run({("", str(n)): grid for n, grid in enumerate(points)})
        return np.array([np.broadcast_to(array, points[0].shape) for array in made])


CHECKED_VALUES = ("_binary_cross_entropy", "_bernoulli", "_normal")
"""Primitives that refuse values, so that they have no grid."""


def applied() -> list[Any]:
    """Return each differentiable elementwise primitive of real operands, with the parameters of the first node met."""
    found: dict[Elementwise, Applied] = {}
    for name, op in REGISTRY.items():
        for sample in op.samples:
            for node in nodes_of(name, sample):
                made = node.primitive
                if isinstance(made, Elementwise) and made.differentiable and not made.chooses:
                    params = {**node.params, "exponent": 0.5} if "exponent" in node.params else dict(node.params)
                    found.setdefault(made, Applied(made, params))
    known = sorted(found.values(), key=lambda one: label(one.primitive))
    return [pytest.param(one, id=label(one.primitive)) for one in known if one.primitive.name not in CHECKED_VALUES]


APPLIED = applied()


@pytest.mark.parametrize("one", APPLIED)
def test_a_slope_that_is_not_finite_is_declared(one: Applied) -> None:
    finite = np.isfinite(one.slopes()).all(axis=0)
    singular = one.primitive.singular
    if singular is None:
        assert finite.all()
        return
    operand = one.points()[singular.operand]
    safe = operand > 0 if singular.safe is Sign.POSITIVE else operand >= 0
    others = [grid for position, grid in enumerate(one.points()) if position != singular.operand]
    moderate = safe & np.all([np.abs(grid) <= 3 for grid in [operand, *others]], axis=0)
    assert finite[moderate].all()
    assert not finite[~safe].all()


def sign_of(values: np.ndarray) -> Sign:
    """Return the sign that all values have that are numbers."""
    values = values[~np.isnan(values)]
    return Sign.POSITIVE if (values > 0).all() else Sign.NOT_NEGATIVE if (values >= 0).all() else Sign.ANY


def declared_sign(one: Applied, given: list[Sign]) -> Sign:
    """Return the sign that the primitive declares for operands of these signs."""
    if one.primitive.sign is None:
        return Sign.ANY
    with building(Builder(Limits())):
        leaves = [leaf(("", str(n)), float64, (2,)) for n in range(len(given))]
        return one.primitive.sign(one.primitive(*leaves, **one.params).node, given)


@pytest.mark.parametrize("one", APPLIED)
def test_signs_are_those_of_values(one: Applied) -> None:
    """A declared sign holds for all values; a primitive of one operand that has a sign declares it."""
    for given in itertools.product(Sign, repeat=len(one.primitive.tensors)):
        points = np.array(one.points())
        lower = np.array([[{Sign.ANY: -np.inf, Sign.NOT_NEGATIVE: 0, Sign.POSITIVE: 1e-9}[sign]] for sign in given])
        inside = (points >= lower).all(axis=0)
        found, declared = sign_of(one.values(*points)[inside]), declared_sign(one, list(given))
        assert declared <= found
        assert len(given) > 1 or one.primitive.sign or found is Sign.ANY, given


@pytest.mark.parametrize("one", APPLIED)
def test_analytic_kernels_have_derivatives_by_complex_steps(one: Applied) -> None:
    if not one.primitive.analytic:
        return
    slopes, points = one.slopes(), one.points()
    for position in range(len(points)):
        moved = [grid + (1e-20j if other == position else 0) for other, grid in enumerate(points)]
        found = np.imag(one.values(*moved)) / 1e-20
        inside = np.isfinite(slopes[position]) & np.isfinite(one.values(*points))
        np.testing.assert_allclose(found[inside], slopes[position][inside], rtol=1e-12, atol=1e-14)


def linear_nodes() -> list[Any]:
    """Return a node of each linear primitive of floating inputs."""
    found: dict[Traits, Node] = {}
    for name, op in REGISTRY.items():
        for sample in op.samples:
            for node in nodes_of(name, sample):
                real = bool(node.inputs) and all(tensor.dtype is float64 for tensor in node.inputs)
                if node.primitive.kind in ("linear", "multilinear") and real:
                    found.setdefault(node.primitive, node)
    return [pytest.param(node, id=label(node.primitive)) for node in found.values()]


@pytest.mark.parametrize("node", linear_nodes())
def test_a_linear_kernel_is_analytic_if_it_takes_complex_numbers(node: Node) -> None:
    rng = np.random.default_rng(0)
    kernel = node.primitive.bind(node.params)
    real, imaginary = ([rng.standard_normal(tensor.shape) for tensor in node.inputs] for _ in range(2))
    imaginary[1:] = [np.zeros_like(array) for array in imaginary[1:]]

    def results(arrays: list[Any]) -> list[np.ndarray]:
        made = kernel(*arrays)
        return list(made) if node.primitive.several else [made]

    try:
        found = results([one + 1j * other for one, other in zip(real, imaginary, strict=True)])
    except TypeError:
        analytic = False
    else:
        rest = real[1:] if node.primitive.kind == "multilinear" else imaginary[1:]
        parts = results([imaginary[0], *rest])
        analytic = all(np.iscomplexobj(array) for array in found) and all(
            np.allclose(np.imag(array), part) for array, part in zip(found, parts, strict=True)
        )
    assert bool(node.primitive.analytic) == analytic


# Single requests


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
    return [
        execution.unit_vectors.count
        for execution in compile_request(made, wanted, Limits()).executions
        if execution.unit_vectors
    ]


@pytest.mark.parametrize("name", MATRICES)
def test_a_batch_of_matrices_takes_as_many_passes_as_one(name: str) -> None:
    assert passes(name, 50) == passes(name, 1)
    assert sum(passes(name, 1)) <= 16 * MATRICES[name][0]


def test_no_op_of_linear_algebra_is_left_out() -> None:
    left = {name for name in REGISTRY if name.startswith("linalg.")} - set(MATRICES)
    assert left == {"linalg.multi_dot", "linalg.norm", "linalg.vecdot", "linalg.vector_norm"}  # without a batch of them
