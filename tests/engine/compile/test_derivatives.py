"""Derivatives together: of higher order, mapped, in batches, between checkpoints, and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from engine.autodiff.forward import jvp
from engine.autodiff.reverse import backward
from engine.autodiff.sparsity import pattern as sparsity
from engine.compile.compile import compile as compile_request
from engine.compile.compiled import Compiled
from engine.compile.derivation import Derivation
from engine.compile.derivatives.forward import ForwardRequest
from engine.compile.derivatives.gradients import GradientRequest
from engine.compile.derivatives.hessian import HessianRequest
from engine.compile.derivatives.hvp import ProductRequest
from engine.compile.derivatives.jacobian import JacobianRequest
from engine.compile.derivatives.jvp import TangentRequest
from engine.compile.request import Request
from engine.execute.numpy.lowering import plan
from engine.graph.function import Function, ancestors
from engine.graph.graph import Builder, Tensor, building
from engine.graph.limits import Limits
from engine.graph.op import REGISTRY
from engine.graph.promotion import leaf
from engine.graph.types import float64
from engine.optimize.schedule import interleaved
from engine.program.program import Leaf, OpCall, Program
from tests.engine.ops.test_laws import Case
from tests.engine.programs import Array, call, given, program

OPS = {name: REGISTRY[name].function for name in REGISTRY}

# Third order

X = np.array([0.3, 0.7, 1.4])
THIRD: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Array], Array]]] = {
    "exp of sin": (
        lambda x: OPS["exp"](OPS["sin"](x)),
        lambda x: np.exp(np.sin(x)) * (np.cos(x) ** 3 - 3 * np.sin(x) * np.cos(x) - np.cos(x)),
    ),
    "power": (lambda x: OPS["pow"](x, 5), lambda x: 60 * x**2),
    "x log x": (lambda x: x * OPS["log"](x), lambda x: -(x**-2)),
    "reciprocal": (lambda x: OPS["div"](1.0, x), lambda x: -6 * x**-4),
    "tanh": (
        OPS["tanh"],
        lambda x: -2 * (1 - np.tanh(x) ** 2) * (1 - 3 * np.tanh(x) ** 2),
    ),
    "softplus": (
        OPS["softplus"],
        lambda x: (s := 1 / (1 + np.exp(-x))) * (1 - s) * (1 - 2 * s),
    ),
}


def reverse(y: Tensor, x: Tensor) -> Tensor:
    """Return the gradient of the sum of y."""
    (found,) = backward([(y, OPS["ones_like"](y))], [x])
    assert found is not None
    return found


def forward(y: Tensor, x: Tensor) -> Tensor:
    """Return the tangent of y along ones: for a function of each element, its derivative."""
    (found,) = jvp([y], {x: OPS["ones_like"](x)})
    assert found is not None
    return found


@pytest.mark.parametrize("name", THIRD)
@pytest.mark.parametrize("modes", ["rrr", "frr", "rfr", "rrf", "ffr", "frf", "rff", "fff"])
def test_third_derivatives_of_every_nesting_are_the_closed_form(name: str, modes: str) -> None:
    function, expected = THIRD[name]
    case = Case(Builder(Limits()), {}, {"x": X}, ())
    with building(case.builder):
        x = leaf(("tensors", "x"), float64, X.shape, requires_grad=True)
        y = function(x)
        for mode in modes:
            y = (reverse if mode == "r" else forward)(y, x)
    np.testing.assert_allclose(case.run([y])[0], expected(X), rtol=1e-12)


def test_third_derivatives_across_elements() -> None:
    """The Hessian of a function whose gradient is written out is the third derivative of the function."""
    values = {"x": X, "v": np.array([1.0, -2.0, 0.5])}
    softmax = (
        call("logsumexp", "x", 0, output="l"),
        call("softmax", "x", 0, output="p"),
        call("dot", "p", "v", output="slope"),
    )
    made = program(values, *softmax)
    third = run(made, HessianRequest(output="slope", wrt=("x",)), values)["hessian"]["x"]["x"]
    step = 1e-4
    second = [
        run(made, HessianRequest(output="l", wrt=("x",)), {**values, "x": X + sign * step * values["v"]})["hessian"][
            "x"
        ]["x"]
        for sign in (1, -1)
    ]
    np.testing.assert_allclose(third, (second[0] - second[1]) / (2 * step), atol=1e-8)


# vmap and batches


def run(made: Program, request: Request, values: Mapping[str, Any], **brought: Mapping[str, Any]) -> dict[str, Any]:
    """Return the results of a request; `brought` are tensors by member and name."""
    compiled = compile_request(made, request, Limits())
    return compiled.run(_sources(values, brought))


def _sources(values: Mapping[str, Any], brought: Mapping[str, Mapping[str, Any]]) -> dict[tuple[str, str], Array]:
    sources = given(values)
    for member, tensors in brought.items():
        sources |= given(tensors, member)
    return sources


RNG = np.random.default_rng(7)
NETWORK = (
    call("matmul", "x", "w", output="z"),
    call("tanh", "z", output="h"),
    call("mul", "h", "s", output="scaled"),
    call("logsumexp", "scaled", 0, output="l"),
    call("sum", "h", output="total"),
    call("mul", "l", "total", output="loss"),
)
SAMPLE = {"x": RNG.standard_normal(4), "w": RNG.standard_normal((4, 3)), "s": RNG.uniform(0.5, 1.5, 3)}
MANY = {**SAMPLE, "x": RNG.standard_normal((5, 4)), "s": RNG.uniform(0.5, 1.5, (3, 5))}
AXES = {"x": 0, "s": 1}


def leaves(values: Mapping[str, Any]) -> dict[str, Leaf]:
    """Return the types of vectors."""
    return {name: Leaf(float64, np.shape(value)) for name, value in values.items()}


VECTORS = {name: RNG.standard_normal(value.shape) for name, value in SAMPLE.items()}
REQUESTS: dict[str, tuple[Callable[..., Request], str]] = {
    "forward": (lambda **more: ForwardRequest(outputs=("loss", "h"), **more), ""),
    "gradients": (lambda **more: GradientRequest(wrt=("x", "w", "h"), backward={"loss": None}, **more), ""),
    "jvp": (lambda **more: TangentRequest(outputs=("loss", "h"), tangents=leaves(VECTORS), **more), "tangents"),
    "jacobian, reverse": (lambda **more: JacobianRequest(outputs=("h", "loss"), mode="reverse", **more), ""),
    "jacobian, forward": (lambda **more: JacobianRequest(outputs=("h", "loss"), mode="forward", **more), ""),
    "hessian": (lambda **more: HessianRequest(output="loss", **more), ""),
    "hvp": (lambda **more: ProductRequest(output="loss", vectors=leaves(VECTORS), **more), "vectors"),
}


def flat(results: Mapping[str, Any]) -> list[Array]:
    """Return the arrays in nested results, in order."""
    found: list[Array] = []
    for value in results.values():
        found.extend(flat(value) if isinstance(value, Mapping) else [value])
    return found


@pytest.mark.parametrize("name", REQUESTS)
def test_vmap_is_a_loop(name: str) -> None:
    made, member = REQUESTS[name]
    brought = {member: VECTORS} if member else {}
    if member:  # directions of mapped tensors are mapped too
        axes = {key: np.random.default_rng(3).standard_normal(np.shape(MANY[key])) for key in VECTORS}
        axes["w"] = VECTORS["w"]
        together = run(program(MANY, *NETWORK), _with_vectors(made(vmap=AXES), leaves(axes)), MANY, **{member: axes})
    else:
        axes = {}
        together = run(program(MANY, *NETWORK), made(vmap=AXES), MANY)
    for index in range(5):
        values = {"x": MANY["x"][index], "w": MANY["w"], "s": MANY["s"][:, index]}
        if member:
            brought = {member: {"x": axes["x"][index], "w": axes["w"], "s": axes["s"][:, index]}}
        alone = run(program(values, *NETWORK), made(), values, **brought)
        for many, one in zip(flat(together), flat(alone), strict=True):
            np.testing.assert_allclose(many[index], one, rtol=1e-12, atol=1e-13)


def _with_vectors(request: Request, types: dict[str, Leaf]) -> Request:
    if isinstance(request, TangentRequest):
        return TangentRequest(outputs=request.outputs, tangents=types, vmap=request.vmap)
    assert isinstance(request, ProductRequest)
    return ProductRequest(output=request.output, vectors=types, vmap=request.vmap)


@pytest.mark.parametrize("name", ["jacobian, reverse", "jacobian, forward", "hessian"])
@pytest.mark.parametrize("axes", [{}, AXES])
def test_batches_of_directions_are_all_at_once(name: str, axes: dict[str, int]) -> None:
    values = MANY if axes else SAMPLE
    made, request = program(values, *NETWORK), REQUESTS[name][0](vmap=axes)
    whole = compile_request(made, request, Limits())
    parts = compile_request(made, request, Limits(bytes=whole.peak_bytes - 1))
    assert chunks(parts) < chunks(whole)
    for one, other in zip(flat(whole.run(given(values))), flat(parts.run(given(values))), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-14)


def chunks(compiled: Compiled) -> int:
    """Return how many directions run at once, of all plans together."""
    return sum(execution.unit_vectors.chunk for execution in compiled.executions if execution.unit_vectors is not None)


def test_jacobians_do_not_depend_on_the_mode() -> None:
    made = program(SAMPLE, *NETWORK)
    results = [run(made, REQUESTS[f"jacobian, {mode}"][0](), SAMPLE)["jacobian"] for mode in ("forward", "reverse")]
    for one, other in zip(*map(flat, results), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


def test_hessian_times_vector_is_the_hvp_and_is_symmetric() -> None:
    made = program(SAMPLE, *NETWORK)
    hessian = run(made, HessianRequest(output="loss"), SAMPLE)["hessian"]
    product = run(made, REQUESTS["hvp"][0](), SAMPLE, vectors=VECTORS)["hvp"]
    for row, blocks in hessian.items():
        expected = sum(np.tensordot(blocks[name], VECTORS[name], VECTORS[name].ndim) for name in blocks)
        np.testing.assert_allclose(product[row], expected, rtol=1e-12)
        for column, block in blocks.items():
            rank = np.ndim(SAMPLE[row])
            turned = np.moveaxis(hessian[column][row], range(-rank, 0), range(rank))
            np.testing.assert_allclose(block, turned, rtol=1e-11, atol=1e-14)


# Checkpoints


def chain(layers: int, size: int) -> Program:
    """Return a chain of layers, each the tanh of a weight times a sine, whose sum is the loss."""
    calls: list[OpCall] = []
    before = "x"
    for layer in range(layers):
        calls.append(call("sin", before, output=f"s{layer}"))
        calls.append(call("mul", f"s{layer}", "w", output=f"p{layer}"))
        calls.append(call("tanh", f"p{layer}", output=f"h{layer}"))
        before = f"h{layer}"
    return program({"x": np.zeros(size), "w": np.zeros(size)}, *calls, call("sum", before, output="loss"))


EVERY_EIGHTH = tuple(f"h{layer}" for layer in range(7, 63, 8))


def test_checkpoints_at_every_eighth_of_64_layers_keep_a_quarter() -> None:
    made = chain(64, 10_000)
    values = {"x": RNG.standard_normal(10_000), "w": RNG.uniform(0.9, 1.1, 10_000)}
    plain, cut = (
        compile_request(made, GradientRequest(wrt=("x", "w"), checkpoint=names), Limits())
        for names in ((), EVERY_EIGHTH)
    )
    assert plain.peak_bytes >= 4 * cut.peak_bytes
    for one, other in zip(*(flat(compiled.run(given(values))) for compiled in (plain, cut)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["jvp", "hvp", "hessian", "jacobian, reverse"])
@pytest.mark.parametrize("axes", [{}, AXES])
def test_checkpoints_change_no_derivative(name: str, axes: dict[str, int]) -> None:
    values = MANY if axes else SAMPLE
    made, member = REQUESTS[name]
    vectors = {key: np.ones(np.shape(values[key])) for key in VECTORS}

    def asked(**more: Any) -> Request:
        request = made(vmap=axes, **more)
        if not member:
            return request
        common = {"vmap": axes, **more}
        if isinstance(request, TangentRequest):
            return TangentRequest(outputs=request.outputs, tangents=leaves(vectors), **common)
        return ProductRequest(output="loss", vectors=leaves(vectors), **common)

    brought = {member: vectors} if member else {}
    plain, cut = (run(program(values, *NETWORK), asked(checkpoint=names), values, **brought) for names in ((), ("h",)))
    for one, other in zip(flat(plain), flat(cut), strict=True):
        np.testing.assert_array_equal(one, other)


# Cost


def nodes_of_hessian(length: int) -> int:
    """Return how many nodes the Hessian-vector product of a chain takes."""
    made = chain(length, 3)
    derivation = Derivation(made, GradientRequest(), Limits())
    loss, x = derivation.lookup.tensor("loss"), derivation.lookup.tensor("x")
    with derivation.deriving():
        gradient = reverse(loss, x)
        product = forward(gradient, x)
    return len(ancestors([loss, gradient, product]))


def test_the_nodes_of_a_second_derivative_grow_with_the_chain() -> None:
    counts = [nodes_of_hessian(length) for length in (10, 20, 40)]
    assert counts[2] - counts[1] == 2 * (counts[1] - counts[0])
    assert counts[0] < 35 * 10


def test_every_order_of_an_elementwise_function_shares_what_it_can() -> None:
    """The derivatives of exp are exp: one node, whatever the order."""
    with building(Builder(Limits())):
        x = leaf(("tensors", "x"), float64, (3,), requires_grad=True)
        y = OPS["exp"](x)
        orders = [y]
        for _ in range(4):
            orders.append(reverse(orders[-1], x))
        names = [node.primitive.name for node in ancestors(orders)]
    assert names.count("exp") == 1


def test_tangents_run_beside_the_values_that_they_belong_to() -> None:
    """A tangent needs as many values at once for a long chain as for a short one."""
    direction = {"x": Leaf(float64, (1000,))}
    peaks = [
        compile_request(chain(length, 1000), TangentRequest(tangents=direction), Limits()).peak_bytes
        for length in (8, 64)
    ]
    assert peaks[1] == peaks[0] <= 8 * 8000


def test_jacobian_columns_run_beside_the_values_that_they_belong_to() -> None:
    request = JacobianRequest(mode="forward", wrt=("x",), outputs=("loss",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparsity, "ELEMENTS", 0)
        plans = [compile_request(chain(length, 20), request, Limits()).executions[-1].plan for length in (8, 64)]
    assert plans[0].peak_bytes == plans[1].peak_bytes


def test_products_with_the_hessian_keep_less_than_in_the_order_of_their_making() -> None:
    made = chain(64, 1000)
    derivation = Derivation(made, GradientRequest(), Limits())
    loss, x = derivation.lookup.tensor("loss"), derivation.lookup.tensor("x")
    with derivation.deriving():
        boundary = len(derivation.traced.builder.nodes)
        gradient = reverse(loss, x)
        turn = len(derivation.traced.builder.nodes)
        product = forward(gradient, x)
    in_order = Function.of([product])
    given_order = plan(in_order, boundary=boundary)
    scheduled = plan(interleaved(in_order, boundary, turn), boundary=boundary)
    assert scheduled.peak_bytes < 0.85 * given_order.peak_bytes
    assert scheduled.code.count == given_order.code.count
