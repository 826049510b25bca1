"""What a matrix makes of unit vectors is read off it, and all behind it is as it is for any directions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from engine.autodiff import unit_vectors
from engine.autodiff.forward import jvp
from engine.autodiff.unit_vectors import Directions
from engine.compile.compile import compile as compile_request
from engine.compile.compile import derived
from engine.compile.derivation import Derivation
from engine.compile.derivatives.hessian import HessianRequest
from engine.compile.derivatives.jacobian import JacobianRequest
from engine.compile.request import Request
from engine.graph.graph import Tensor, building
from engine.graph.limits import Limits
from engine.graph.op import REGISTRY
from engine.graph.promotion import leaf
from engine.graph.samples import Sample
from engine.graph.types import float64, int64
from engine.ops.linalg.matmul import PRODUCT
from engine.program.program import Program
from tests.engine.autodiff.test_sparsity import random_graph
from tests.engine.ops.test_laws import CASES, Case, gradients, recorded, traced
from tests.engine.programs import Array, call, given, program

OPS: dict[str, Callable[..., Tensor]] = {name: REGISTRY[name].function for name in REGISTRY}
SIZE = 5

IMAGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "matrix times vector": OPS["mv"],
    "vector times transpose": lambda matrix, u: OPS["matmul"](u, OPS["t"](matrix)),
    "vector times matrix": lambda matrix, u: OPS["matmul"](u, OPS["reshape"](matrix, (SIZE, -1))),
    "transpose times vector": lambda matrix, u: OPS["mv"](OPS["t"](OPS["reshape"](matrix, (SIZE, -1))), u),
    "matrix times column": lambda matrix, u: OPS["matmul"](matrix, OPS["reshape"](u, (SIZE, 1))),
    "matrices times column": lambda matrix, u: OPS["matmul"](OPS["reshape"](matrix, (-1, 1, SIZE)), u),
    "row times matrices": lambda matrix, u: OPS["matmul"](u, OPS["reshape"](matrix, (-1, SIZE, 1))),
    "factors": lambda matrix, u: OPS["mv"](matrix, OPS["neg"](u * OPS["sum"](matrix, 0)) + u),
    "factors of a row": lambda matrix, u: OPS["matmul"](OPS["reshape"](u, (1, SIZE)) / 3, OPS["t"](matrix)),
    "factors of others": lambda matrix, u: OPS["mv"](matrix, u + OPS["mul"](OPS["sum"](u), 2)),
    "more than a factor": lambda matrix, u: OPS["sum"](
        OPS["reshape"](matrix, (-1, 1, SIZE)) * OPS["diag"](u), (-1, -2)
    ),
}
"""By name: a linear function of a vector of five elements, by a matrix (n, 5) of the numbers in it."""


@pytest.fixture(params=[SIZE, SIZE + 1], ids=["many", "few"])
def fewest(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let five directions be enough to stand last, or too few."""
    monkeypatch.setattr(unit_vectors, "FEWEST", request.param)


def moved(case: Case, tensor: Tensor, direction: Tensor, image: str) -> Tensor:
    """Return a tangent of a tensor that is linear in a direction."""
    key = f"matrix{len(case.values)}"
    case.values[key] = np.random.default_rng(len(key)).standard_normal((tensor.numel, SIZE))
    matrix = leaf(("tensors", key), float64, (tensor.numel, SIZE))
    return OPS["reshape"](IMAGES[image](matrix, direction), tensor.shape)


def check(case: Case, outputs: Sequence[Tensor], inputs: Sequence[Tensor], image: str) -> None:
    """Hold tangents along unit vectors, all and some of them, to those along any directions."""
    with building(case.builder):
        direction = leaf(("tensors", "direction"), float64, (SIZE,), requires_grad=True)
        tangents = {tensor: moved(case, tensor, direction, image) for tensor in inputs if tensor.numel}
        wanted = [tangent for tangent in jvp(outputs, tangents) if tangent is not None]
    for numbers in (None, np.array([1, 2, 4, 4])):
        vectors = np.eye(SIZE) if numbers is None else np.eye(SIZE)[numbers]
        values = {"vectors": vectors} if numbers is None else {"vectors": vectors, "numbers": numbers}
        with building(case.builder):
            any_ = leaf(("tensors", "vectors"), float64, vectors.shape)
            some = None if numbers is None else leaf(("tensors", "numbers"), int64, numbers.shape)
            ways = [Directions(direction, any_, units=True, numbers=some), Directions(direction, any_)]
            for way in ways:
                way.add(wanted)
            found = [case.run([*map(way.first, wanted), *map(way.last, wanted)], **values) for way in ways]
        for one, other in zip(*found, strict=True):
            assert one.shape == other.shape
            assert one.dtype == other.dtype
            scale = max(1.0, float(np.abs(other[np.isfinite(other)]).max(initial=0)))
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-11 * scale)


@pytest.mark.usefixtures("fewest")
@pytest.mark.parametrize(("name", "sample"), CASES)
def test_tangents_of_every_op_and_of_its_gradient(name: str, sample: Sample) -> None:
    case = traced(name, sample)
    found, _ = gradients(case, recorded(case), np.random.default_rng(2))
    outputs = [*recorded(case), *[gradient for gradient in found.values() if gradient.requires_grad]]
    check(case, outputs, [case.leaves[key] for key in case.differentiable], "matrix times vector")


@pytest.mark.usefixtures("fewest")
@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("seed", range(10))
def test_tangents_of_a_random_graph(seed: int, image: str) -> None:
    case, pool = random_graph(seed)
    check(case, pool[-3:], list(case.leaves.values()), image)


# Requests

DRAWN = np.random.default_rng(1)
VALUES = {
    "a": DRAWN.standard_normal((20, 20)),
    "b": DRAWN.standard_normal(20),
    "w": DRAWN.standard_normal((7, 20)),
    "x": DRAWN.standard_normal(20),
    "m": DRAWN.standard_normal(20),
}
LAYERS = (
    call("sub", "x", "m", output="c"),
    call("div", "c", "b", output="n"),
    call("matmul", "a", "n", output="z"),
    call("add", "z", "b", output="s"),
    call("tanh", "s", output="h"),
    call("linear", "h", "w", output="o"),
    call("softmax", "o", 0, output="y"),
    call("exp", "o", output="e"),
)
LOSS = (*LAYERS, call("logsumexp", "o", 0, output="l"), call("square", "x", output="q"))
TOTAL = (*LOSS, call("sum", "q", output="r"), call("add", "l", "r", output="loss"))

REQUESTS: dict[str, tuple[Program, Request]] = {
    "columns": (program(VALUES, *LAYERS), JacobianRequest(outputs=("y", "z"), wrt=("x",), mode="forward")),
    "rows": (program(VALUES, *LAYERS), JacobianRequest(outputs=("e", "z"), wrt=("x", "b"), mode="reverse")),
    "hessian": (program(VALUES, *TOTAL), HessianRequest(output="loss", wrt=("x", "b"))),
}


def flat(results: Mapping[str, Any]) -> list[Array]:
    """Return the arrays in nested results."""
    return [each for value in results.values() for each in (flat(value) if isinstance(value, dict) else [value])]


@pytest.fixture(params=[1, 8, 20], ids=["one by one", "in parts", "at once"])
def most(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Let so many directions run at once."""
    chunked, most = Derivation.chunked, int(request.param)
    monkeypatch.setattr(Derivation, "chunked", lambda self, count, *others: chunked(self, min(count, most), *others))
    return most


@pytest.mark.usefixtures("most")
@pytest.mark.parametrize("name", REQUESTS)
def test_derivatives_are_those_of_products(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made, request = REQUESTS[name]
    read = compile_request(made, request, Limits()).run(given(VALUES))
    monkeypatch.setattr(Directions, "_replace_product", lambda *_: False)
    multiplied = compile_request(made, request, Limits()).run(given(VALUES))
    for one, other in zip(flat(read), flat(multiplied), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("mode", ["forward", "reverse"])
@pytest.mark.parametrize("op", ["matmul", "linear"])
def test_the_jacobian_of_a_product_is_the_matrix_whatever_is_in_it(op: str, mode: Any, most: int) -> None:
    matrix = VALUES["a"].copy()
    matrix[3, 4], matrix[5, 6], matrix[7, 8], matrix[9, 10] = np.inf, -np.inf, np.nan, -0.0
    values = {"a": matrix, "x": VALUES["x"]}
    made = program(values, call(op, *(("a", "x") if op == "matmul" else ("x", "a")), output="y"))
    compiled = compile_request(made, JacobianRequest(wrt=("x",), mode=mode), Limits())
    assert [
        execution.unit_vectors.chunk for execution in compiled.executions if execution.unit_vectors is not None
    ] == [most]
    found = compiled.run(given(values))["jacobian"]["y"]["x"]
    np.testing.assert_array_equal(found, matrix)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(matrix))
    assert not np.shares_memory(found, matrix)


def products(made: Program, request: Request) -> int:
    """Return how many products of matrices the plans of a request compute."""
    _, compiled = derived(made, request, Limits())
    units = [
        unit for execution in compiled.executions if execution.unit_vectors is not None for unit in execution.plan.units
    ]
    return sum(node.primitive is PRODUCT for unit in units for node in unit.nodes)


def test_no_product_by_unit_vectors_is_computed() -> None:
    linear, net = program(VALUES, *LAYERS[:3]), program(VALUES, *LAYERS)
    assert products(linear, JacobianRequest(wrt=("x",), mode="forward")) == 0
    assert products(linear, JacobianRequest(wrt=("x",), mode="reverse")) == 0
    assert products(net, JacobianRequest(outputs=("e",), wrt=("x",), mode="forward")) == 3  # two of values
    assert products(net, JacobianRequest(outputs=("e",), wrt=("x",), mode="reverse")) == 3  # two of values
