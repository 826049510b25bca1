"""Sparse Jacobians: the pattern holds every nonzero, colours save passes, and the result is the dense one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pytest

from engine.autodiff.reverse import backward
from engine.autodiff.sparsity import colouring
from engine.autodiff.sparsity import pattern as sparsity
from engine.autodiff.sparsity.colouring import coloured
from engine.autodiff.vmap import batched
from engine.compile.compile import compile as compile_request
from engine.compile.compiled import Compiled
from engine.compile.derivatives.hessian import HessianRequest
from engine.compile.derivatives.jacobian import JacobianRequest
from engine.graph.graph import Builder, Tensor, building
from engine.graph.limits import Limits
from engine.graph.op import REGISTRY
from engine.graph.promotion import leaf
from engine.graph.samples import Sample
from engine.graph.types import float64
from engine.program.program import Program
from tests.engine.ops.test_laws import CASES, Case, gradients, recorded, traced
from tests.engine.programs import Array, call, given, program

OPS = {name: REGISTRY[name].function for name in REGISTRY}


def jacobian(case: Case, outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> Array:
    """Return the derivatives of all outputs by all inputs, a row of the identity for each direction."""
    rows = []
    for output in outputs:
        blocks = [np.zeros((output.numel, wrt.numel)) for wrt in inputs]
        with building(case.builder):
            direction = leaf(("tensors", "direction"), output.dtype, output.shape, requires_grad=True)
            directions = leaf(("tensors", "directions"), output.dtype, (output.numel, *output.shape))
            found = backward([(output, direction)], inputs)
            live = [position for position, cotangent in enumerate(found) if cotangent is not None]
            many = batched([t for t in found if t is not None], {direction: directions}, output.numel)
        units = np.eye(output.numel, dtype=output.dtype.numpy).reshape(output.numel, *output.shape)
        for position, values in zip(live, case.run(many, directions=units), strict=True):
            blocks[position] = np.reshape(values, blocks[position].shape)
        rows.append(np.concatenate(blocks, axis=1))
    return np.concatenate(rows)


@pytest.mark.parametrize(("name", "sample"), CASES)
def test_the_pattern_of_an_op_and_of_its_gradient_holds_every_nonzero(name: str, sample: Sample) -> None:
    case = traced(name, sample)
    inputs, outputs = [case.leaves[key] for key in case.differentiable], recorded(case)
    for _ in range(2):
        if not outputs:
            return
        walks = [sparsity._Walk().pushed(outputs, inputs), sparsity._Walk().pulled(outputs, inputs)]
        nonzero = jacobian(case, outputs, inputs) != 0
        np.testing.assert_array_equal(walks[0], walks[1])
        assert not (nonzero & ~walks[0]).any()
        found, _ = gradients(case, outputs, np.random.default_rng(2))
        outputs = [gradient for gradient in found.values() if gradient.requires_grad]


UNARY = ("tanh", "exp", "neg", "t", "cumsum", "flip", "softmax", "tril", "sum0", "sum1", "amax", "slice", "pad", "roll")
BINARY = ("add", "mul", "matmul", "cat", "maximum", "where", "solve")


def random_node(rng: np.random.Generator, pool: list[Tensor]) -> Tensor:
    """Return some op of some (4, 4) tensors of the pool, a (4, 4) tensor."""
    a, b = (pool[int(rng.integers(len(pool)))] for _ in range(2))
    name = str(rng.choice(UNARY + BINARY))
    made: dict[str, Any] = {
        "t": lambda: OPS["t"](a),
        "cumsum": lambda: OPS["cumsum"](a, 1),
        "flip": lambda: OPS["flip"](a, (0,)),
        "softmax": lambda: OPS["softmax"](a, -1),
        "sum0": lambda: OPS["expand"](OPS["sum"](a, 0, True), 4, 4),
        "sum1": lambda: OPS["expand"](OPS["sum"](a, 1, True), 4, 4),
        "amax": lambda: OPS["expand"](OPS["amax"](a, 1, True), 4, 4),
        "slice": lambda: OPS["pad"](OPS["narrow"](a, 0, 1, 2), (0, 0, 2, 0)),
        "pad": lambda: OPS["narrow"](OPS["pad"](a, (2, 2)), 1, 1, 4),
        "roll": lambda: OPS["roll"](a, 1, 0),
        "cat": lambda: OPS["cat"]((OPS["narrow"](a, 0, 2, 2), OPS["narrow"](b, 0, 0, 2))),
        "where": lambda: OPS["where"](OPS["gt"](a, 0.0), a, b),
        "solve": lambda: OPS["linalg.solve"](OPS["add"](OPS["tril"](a), OPS["mul"](OPS["eye"](4), 5.0)), b),
    }
    operands = (a, b) if name in BINARY else (a,)
    result: Tensor = made[name]() if name in made else OPS[name](*operands)
    return result


def random_graph(seed: int) -> tuple[Case, list[Tensor]]:
    """Return two leaves of shape (4, 4) and eight random nodes behind them: the tensors, in order."""
    rng = np.random.default_rng(seed)
    case = Case(Builder(Limits()), {}, {}, ())
    with building(case.builder):
        for name in ("a", "b"):
            case.leaves[name] = leaf(("tensors", name), float64, (4, 4), requires_grad=True)
            case.values[name] = rng.uniform(0.1, 0.5, (4, 4))
        pool = list(case.leaves.values())
        for _ in range(8):
            pool.append(random_node(rng, pool))
    return case, pool


@pytest.mark.parametrize("seed", range(40))
def test_the_pattern_of_a_random_graph_holds_every_nonzero(seed: int) -> None:
    case, pool = random_graph(seed)
    outputs = [tensor for tensor in pool[-2:] if tensor.requires_grad]
    inputs = list(case.leaves.values())
    found = sparsity.pattern(outputs, inputs)
    assert found is not None
    nonzero = jacobian(case, outputs, inputs) != 0
    assert not (nonzero & ~found).any()


X = np.random.default_rng(0).uniform(0.5, 1.5, 50)
ROWS = np.random.default_rng(1).uniform(0.5, 1.5, (12, 5))
ELEMENTWISE = program({"x": X}, call("tanh", "x", output="t"), call("mul", "t", "x", output="y"))
TRIDIAGONAL = program(
    {"x": X},
    call("narrow", "x", 0, 0, 49, output="left"),
    call("narrow", "x", 0, 1, 49, output="right"),
    call("mul", "left", "right", output="both"),
    call("pad", "both", [1, 0], output="before"),
    call("pad", "both", [0, 1], output="after"),
    call("add", "before", "after", output="y"),
)
ROSENBROCK = program(
    {"x": X},
    call("narrow", "x", 0, 0, 49, output="left"),
    call("narrow", "x", 0, 1, 49, output="right"),
    call("square", "left", output="squares"),
    call("sub", "right", "squares", output="valley"),
    call("square", "valley", output="steep"),
    call("mul", "steep", 100, output="weighted"),
    call("sub", 1, "left", output="slope"),
    call("square", "slope", output="flat"),
    call("add", "weighted", "flat", output="terms"),
    call("sum", "terms", output="loss"),
)


def passes(compiled: Compiled) -> list[int]:
    """Return how many directions each plan has."""
    return [execution.unit_vectors.count for execution in compiled.executions if execution.unit_vectors is not None]


def rows_by(op: str, *arguments: Any) -> Program:
    """Return the program that applies an op to each of twelve rows of five."""
    return program({"x": ROWS}, call(op, "x", *arguments, output="y"))


PASSES: dict[str, tuple[Program, Any, Array, list[int]]] = {
    "elementwise": (ELEMENTWISE, JacobianRequest(), X, [1]),
    "elementwise, forward": (ELEMENTWISE, JacobianRequest(mode="forward"), X, [1]),
    "tridiagonal": (TRIDIAGONAL, JacobianRequest(), X, [3]),
    "tridiagonal, forward": (TRIDIAGONAL, JacobianRequest(mode="forward"), X, [3]),
    "each row from itself": (rows_by("softmax", 1), JacobianRequest(), ROWS, [5]),
    "each row to a number": (rows_by("logsumexp", 1), JacobianRequest(), ROWS, [1]),
    "each row to a number, forward": (rows_by("logsumexp", 1), JacobianRequest(mode="forward"), ROWS, [5]),
    "moved": (rows_by("flip", [0]), JacobianRequest(), ROWS, [1]),
    "each column": (rows_by("softmax", 0), JacobianRequest(), ROWS, [12]),
    "Rosenbrock's Hessian": (ROSENBROCK, HessianRequest(), X, [3]),
}


@pytest.mark.parametrize("name", PASSES)
def test_colours_save_passes_and_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made, request, x, expected = PASSES[name]
    group = "hessian" if isinstance(request, HessianRequest) else "jacobian"
    sparse = compile_request(made, request, Limits())
    assert passes(sparse) == expected
    monkeypatch.setattr(sparsity, "ELEMENTS", 0)
    axis = sparse.executions[-1].blocks[0].axis
    mode: Literal["forward", "reverse"] = "forward" if axis == "columns" else "reverse"
    dense = compile_request(made, JacobianRequest(mode=mode) if group == "jacobian" else request, Limits())
    assert passes(dense)[0] > expected[0]
    found, whole = (next(iter(c.run(given({"x": x}))[group].values()))["x"] for c in (sparse, dense))
    np.testing.assert_array_equal(found, whole)


def test_the_mode_with_fewer_passes_is_taken_after_colouring() -> None:
    wide = program({"x": ROWS}, call("exp", "x", output="e"), call("sum", "e", 1, output="y"))
    compiled = compile_request(wide, JacobianRequest(), Limits())
    assert [block.axis for execution in compiled.executions for block in execution.blocks] == ["rows"]
    tall = program({"x": ROWS[:, :1]}, call("expand", "x", 12, 5, output="y"))
    compiled = compile_request(tall, JacobianRequest(), Limits())
    assert [block.axis for execution in compiled.executions for block in execution.blocks] == ["columns"]
    assert passes(compiled) == [1]


def test_vmap_and_chunks_work_with_colours() -> None:
    many = np.stack([X, X * 1.1, X * 0.9])
    mapped = program({"x": many}, *TRIDIAGONAL.ops)
    together = compile_request(mapped, JacobianRequest(vmap={"x": 0}), Limits())
    assert passes(together) == [3]
    small = Limits(bytes=together.peak_bytes - 1)
    chunked = compile_request(mapped, JacobianRequest(vmap={"x": 0}), small)
    assert [execution.unit_vectors.chunk for execution in chunked.executions if execution.unit_vectors] == [2]
    alone = compile_request(TRIDIAGONAL, JacobianRequest(), Limits())
    found = [c.run(given({"x": many}))["jacobian"]["y"]["x"] for c in (together, chunked)]
    for index, x in enumerate(many):
        expected = alone.run(given({"x": x}))["jacobian"]["y"]["x"]
        for result in found:
            np.testing.assert_array_equal(result[index], expected)


def test_blocks_of_several_inputs_and_outputs() -> None:
    both = program(
        {"x": X, "s": np.float64(2)},
        call("mul", "x", "s", output="scaled"),
        call("sin", "x", output="wave"),
        call("sum", "wave", output="total"),
    )
    request = JacobianRequest(outputs=("scaled", "total"), mode="forward")
    compiled = compile_request(both, request, Limits())
    assert passes(compiled) == [X.size, 1]  # the total depends on every element
    result = compiled.run(given({"x": X, "s": 2.0}))["jacobian"]
    np.testing.assert_allclose(result["scaled"]["x"], 2 * np.eye(X.size))
    np.testing.assert_allclose(result["scaled"]["s"], X)
    np.testing.assert_allclose(result["total"]["x"], np.cos(X))
    assert result["total"]["s"] == 0


def test_one_tensor_under_two_names_has_one_pattern() -> None:
    twice = program({"x": X}, call("exp", "x", output="y"), call("exp", "x", output="z"))
    result = compile_request(twice, JacobianRequest(), Limits()).run(given({"x": X}))["jacobian"]
    for name in ("y", "z"):
        np.testing.assert_allclose(result[name]["x"], np.diag(np.exp(X)))


def test_an_intermediate_result_has_its_own_columns() -> None:
    made = program({"x": X}, call("square", "x", output="s"), call("exp", "s", output="y"))
    compiled = compile_request(made, JacobianRequest(wrt=("x", "s"), outputs=("y",), mode="forward"), Limits())
    assert passes(compiled) == [1, 1]
    result = compiled.run(given({"x": X}))["jacobian"]["y"]
    np.testing.assert_allclose(result["s"], np.diag(np.exp(X**2)))
    np.testing.assert_allclose(result["x"], np.diag(2 * X * np.exp(X**2)))


def test_no_elements_and_no_nonzeros() -> None:
    empty = program({"x": np.zeros((0, 3))}, call("exp", "x", output="y"))
    result = compile_request(empty, JacobianRequest(), Limits()).run(given({"x": np.zeros((0, 3))}))
    assert result["jacobian"]["y"]["x"].shape == (0, 3, 0, 3)
    cut = program({"x": X}, call("narrow", "x", 0, 0, 0, output="y"))
    for mode in ("forward", "reverse"):
        result = compile_request(cut, JacobianRequest(mode=mode), Limits()).run(given({"x": X}))
        assert result["jacobian"]["y"]["x"].shape == (0, 50)


def test_what_would_cost_too_much_is_taken_as_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparsity, "WORDS", 10)
    assert passes(compile_request(ELEMENTWISE, JacobianRequest(), Limits())) == [50]


@pytest.mark.parametrize("seed", range(20))
def test_columns_of_a_colour_share_no_row(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 80, 2))
    pattern = rng.random(shape) < 0.05
    colours = coloured(pattern, shape[1])
    assert colours is not None
    assert ((colours < 0) == ~pattern.any(axis=0)).all()
    for colour in range(colours.max(initial=-1) + 1):
        assert pattern[:, colours == colour].sum(axis=1).max() <= 1
    assert colours.max(initial=-1) + 1 >= pattern.sum(axis=1).max()


def test_a_colouring_that_saves_too_little_or_costs_too_much_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    assert coloured(np.ones((3, 4), bool), 3) is None
    assert coloured(np.eye(50, dtype=bool), 1) is not None
    monkeypatch.setattr(colouring, "WORDS", 10)
    assert coloured(np.eye(50, dtype=bool), 1) is None


def test_the_order_of_most_nonzeros_is_tried_too() -> None:
    """A path whose ends come first takes three colours; from its middle it takes two."""
    order = [0, 3, 1, 2]
    edges = [(0, 1), (1, 2), (2, 3)]
    pattern = np.zeros((3, 4), bool)
    for row, pair in enumerate(edges):
        pattern[row, [order.index(node) for node in pair]] = True
    colours = coloured(pattern, 4)
    assert colours is not None
    assert colours.max() + 1 == 2
