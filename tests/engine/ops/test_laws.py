"""The laws that every op keeps, on every one of its samples.

Typed shapes and dtypes are those of the run; gradients are central differences, gradients of gradients too; tangents
and gradients are transposes, and every order of the two modes gives the same second derivatives; float32 is near
float64; every primitive works unchanged when all its inputs gain a leading axis, which is what batching rests on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import engine.ops  # noqa: F401
from engine.autodiff.forward import jvp
from engine.autodiff.reverse import backward
from engine.autodiff.vmap import batched
from engine.errors import OpError, ValueFault
from engine.execute.numpy.kernels import lowered
from engine.execute.numpy.lowering import plan
from engine.execute.numpy.runner import WARM, Runner
from engine.graph.function import Function, ancestors
from engine.graph.graph import Builder, Node, Tensor, building
from engine.graph.limits import Limits
from engine.graph.op import REGISTRY
from engine.graph.promotion import CONSTANT, LEAF, leaf
from engine.graph.samples import Draw, Sample
from engine.graph.types import DTYPES, DType, float32, float64

CASES = [
    pytest.param(name, sample, id=f"{name}-{number}")
    for name, op in sorted(REGISTRY.items())
    for number, sample in enumerate(op.samples)
]


@dataclass
class Case:
    """A sample traced: its leaves with values, and its results."""

    builder: Builder
    leaves: dict[str, Tensor]
    values: dict[str, np.ndarray]
    results: tuple[Tensor, ...]

    @property
    def differentiable(self) -> list[str]:
        """The names of the leaves that require grad."""
        return [name for name, tensor in self.leaves.items() if tensor.requires_grad]

    def run(self, wanted: Sequence[Tensor], **changed: np.ndarray) -> list[np.ndarray]:
        """Return the values of tensors, some leaves changed."""
        given: dict[tuple[str, str], Any] = {("tensors", n): v for n, v in {**self.values, **changed}.items()}
        given["seed", ""] = np.int64(7)
        return list(map(np.asarray, Runner(plan(Function.of(wanted))).run(given)))


def traced(name: str, sample: Sample, dtype: str = "float64") -> Case:
    """Trace an op on a sample."""
    rng = np.random.default_rng(len(name))
    case = Case(Builder(Limits(), DTYPES[dtype] if DTYPES[dtype].is_floating else float64), {}, {}, ())

    def replaced(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(replaced(item) for item in value)
        if not isinstance(value, Draw):
            return value
        key = f"t{len(case.leaves)}"
        drawn = value.draw(rng)
        drawn = drawn.astype(dtype) if drawn.dtype.kind == "f" else drawn
        case.values[key] = drawn
        recorded = value.grad and drawn.dtype.kind == "f"
        case.leaves[key] = leaf(("tensors", key), DTYPES[drawn.dtype.name], drawn.shape, recorded)
        return case.leaves[key]

    with building(case.builder):
        args = [replaced(value) for value in sample.args]
        kwargs = {key: replaced(value) for key, value in sample.kwargs.items()}
        made = REGISTRY[name].function(*args, **kwargs)
    case.results = tuple(made) if isinstance(made, tuple | list) else (made,)
    return case


def gradients(case: Case, roots: Sequence[Tensor], rng: np.random.Generator) -> tuple[dict[str, Tensor], Tensor]:
    """Return the gradients of a random linear function of the roots, and that function."""
    with building(case.builder):
        seeds = []
        for number, root in enumerate(roots):
            key = f"seed{len(case.values)}_{number}"
            case.values[key] = rng.standard_normal(root.shape).astype(root.dtype.numpy)
            seeds.append(leaf(("tensors", key), root.dtype, root.shape))
        names = case.differentiable
        found = backward(list(zip(roots, seeds, strict=True)), [case.leaves[name] for name in names])
        total: Any = 0.0
        for root, seed in zip(roots, seeds, strict=True):
            total = total + REGISTRY["sum"].function(root * seed)
    return {name: grad for name, grad in zip(names, found, strict=True) if grad is not None}, total


def differences(function: Callable[[np.ndarray], float], at: np.ndarray, step: float = 1e-4) -> np.ndarray:
    """Return the derivative by fourth-order central differences, element by element."""
    result = np.zeros(at.shape)
    for index in np.ndindex(at.shape):
        total = 0.0
        for offset, weight in ((1, 8.0), (-1, -8.0), (2, -1.0), (-2, 1.0)):
            moved = at.copy()
            moved[index] += offset * step
            total += weight * function(moved)
        result[index] = total / (12 * step)
    return result


def recorded(case: Case) -> list[Tensor]:
    """Return the results that require grad."""
    return [result for result in case.results if result.requires_grad]


def check_differences(case: Case, roots: Sequence[Tensor]) -> None:
    """Compare the gradients of a random linear function of the roots with differences."""
    found, total = gradients(case, roots, np.random.default_rng(1))
    for name in case.differentiable:
        exact = case.run([found[name]])[0] if name in found else np.zeros(case.values[name].shape)
        assert exact.shape == case.values[name].shape

        def value(moved: np.ndarray, name: str = name) -> float:
            return float(case.run([total], **{name: moved})[0])

        near = differences(value, case.values[name])
        scale = max(1.0, float(np.abs(near).max(initial=0)))
        np.testing.assert_allclose(exact, near, rtol=2e-7, atol=2e-7 * scale, err_msg=name)


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_op_has_samples_and_a_docstring_with_its_source(name: str) -> None:
    op = REGISTRY[name]
    assert op.samples
    assert "Source:" in op.doc
    assert "torch." in op.doc


@pytest.mark.parametrize(("name", "sample"), CASES)
def test_the_typed_shape_and_dtype_are_those_of_the_run(name: str, sample: Sample) -> None:
    case = traced(name, sample)
    for result, array in zip(case.results, case.run(case.results), strict=True):
        assert array.shape == result.shape
        assert array.dtype == result.dtype.numpy


@pytest.mark.parametrize(("name", "sample"), CASES)
def test_gradients_are_central_differences(name: str, sample: Sample) -> None:
    case = traced(name, sample)
    if recorded(case):
        check_differences(case, recorded(case))


@pytest.mark.parametrize(("name", "sample"), CASES)
def test_gradients_of_gradients_are_central_differences(name: str, sample: Sample) -> None:
    case = traced(name, sample)
    if not recorded(case):
        return
    found, _ = gradients(case, recorded(case), np.random.default_rng(2))
    again = [gradient for gradient in found.values() if gradient.requires_grad]
    if again:
        check_differences(case, again)


@pytest.mark.parametrize(("name", "sample"), CASES)
def test_float32_is_near_float64(name: str, sample: Sample) -> None:
    wide, narrow = traced(name, sample), traced(name, sample, "float32")
    assert [float64 if r.dtype is float32 else r.dtype for r in narrow.results] == [r.dtype for r in wide.results]
    for case in (wide, narrow):
        case.results += tuple(gradients(case, recorded(case), np.random.default_rng(3))[0].values())
    for exact, near in zip(wide.run(wide.results), narrow.run(narrow.results), strict=True):
        scale = float(np.abs(exact).max(initial=1.0)) if exact.dtype.kind == "f" else 1
        np.testing.assert_allclose(near, exact, rtol=2e-4, atol=2e-4 * scale)


@pytest.mark.parametrize("dtype", ["float16", "int64", "uint8", "bool"])
@pytest.mark.parametrize(("name", "sample"), CASES)
def test_other_dtypes_run_as_typed_or_are_refused(name: str, sample: Sample, dtype: str) -> None:
    try:
        case = traced(name, sample, dtype)
        found = case.run(case.results)
    except (OpError, ValueFault):
        return
    for result, array in zip(case.results, found, strict=True):
        assert array.shape == result.shape
        assert array.dtype == result.dtype.numpy


def primitives(case: Case) -> Iterator[Node]:
    """Yield every node of the results and of their gradients, of first and second order."""
    wanted = list(case.results)
    roots = recorded(case)
    for _ in range(2):
        if roots:
            found, _ = gradients(case, roots, np.random.default_rng(4))
            wanted.extend(found.values())
            roots = [gradient for gradient in found.values() if gradient.requires_grad]
    yield from (node for node in ancestors(wanted) if any(t.node.primitive is not CONSTANT for t in node.inputs))


@pytest.mark.parametrize(("name", "sample"), CASES)
def test_every_primitive_takes_a_leading_axis(name: str, sample: Sample) -> None:
    case = traced(name, sample)
    nodes = list(primitives(case))
    wanted = list(dict.fromkeys(t for node in nodes for t in (*node.inputs, *node.outputs)))
    values = dict(zip(wanted, case.run(wanted), strict=True))
    for node in nodes:
        if any(
            t.dtype.name == "int64" and t.node.primitive is LEAF and t.node.params["source"][0] == "seed"
            for t in node.inputs
        ):
            continue  # draws for each seed of a batch are those of that seed, which a copy of the result is not
        batch = [np.stack([values[t], values[t]]) for t in node.inputs]
        params = dict(node.params)
        if "shape" in params:
            params["shape"] = (2, *params["shape"])
        with building(Builder(Limits())):
            shapes = [(t, (2, *t.shape)) for t in node.inputs]
            placed = [leaf(("tensors", str(k)), t.dtype, shape) for k, (t, shape) in enumerate(shapes)]
            if node.primitive.kind == "elementwise":
                rank = max(t.ndim for t in node.inputs)
                batch = [
                    b.reshape(2, *(1,) * (rank - t.ndim), *t.shape) for b, t in zip(batch, node.inputs, strict=True)
                ]
                results = [node.primitive.bind(params)(*batch)]
                typed = [results[0].shape]
            else:
                made = node.primitive(*placed, **params)
                typed = [t.shape for t in (made if isinstance(made, tuple) else (made,))]
                ran = node.primitive.bind(params)(*batch)
                results = list(ran) if node.primitive.several else [ran]
        for result, shape, array in zip(node.outputs, typed, results, strict=True):
            assert shape == (2, *result.shape), f"{node.primitive.name}: typed {shape}"
            np.testing.assert_array_equal(np.asarray(array)[1].shape, result.shape, err_msg=node.primitive.name)
            np.testing.assert_allclose(
                np.asarray(array)[1], values[result], rtol=1e-12, atol=1e-12, err_msg=node.primitive.name
            )


@pytest.mark.parametrize(("name", "sample"), CASES)
def test_however_often_a_plan_runs_its_bits_are_the_same(name: str, sample: Sample) -> None:
    """Walking the steps, straight-line code and each node by itself differ in speed alone."""
    case = traced(name, sample)
    wanted = [*case.results, *gradients(case, recorded(case), np.random.default_rng(10))[0].values()]
    runner, single = Runner(plan(Function.of(wanted))), Runner(plan(Function.of(wanted), fuse=False))
    given: dict[tuple[str, str], Any] = {("tensors", key): value for key, value in case.values.items()}
    given["seed", ""] = np.int64(7)
    walked = runner.run(given)
    for _ in range(WARM):
        straight = runner.run(given)
    for first, *others in zip(walked, straight, single.run(given), strict=True):
        for other in others:
            assert np.asarray(other).dtype == np.asarray(first).dtype
            assert np.asarray(other).shape == np.asarray(first).shape
            assert np.asarray(other).tobytes() == np.asarray(first).tobytes()


@pytest.mark.parametrize(("name", "sample"), CASES)
def test_the_kernel_that_types_allow_gives_what_the_primitive_gives(name: str, sample: Sample) -> None:
    case = traced(name, sample)
    nodes = list(primitives(case))
    wanted = list(dict.fromkeys(tensor for node in nodes for tensor in node.inputs))
    values = dict(zip(wanted, case.run(wanted), strict=True))
    for node in nodes:
        kernel, extra, params = lowered(node)
        arrays = [values[tensor] for tensor in node.inputs]
        with np.errstate(all="ignore"):
            found, expected = kernel(*arrays, *extra, **params), node.primitive.bind(node.params)(*arrays)
        several = node.primitive.several
        for one, other in zip(found if several else [found], expected if several else [expected], strict=True):
            assert np.asarray(one).dtype == np.asarray(other).dtype, node.primitive.name
            assert np.asarray(one).shape == np.asarray(other).shape, node.primitive.name
            np.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-13, err_msg=node.primitive.name)


@pytest.mark.parametrize(("name", "sample"), CASES)
def test_parameters_that_are_compared_as_they_are_have_the_types_that_they_name(name: str, sample: Sample) -> None:
    """Nodes of equal parameters are one node, so that 1, 1.0 and True must not stand for each other."""
    for node in primitives(traced(name, sample)):
        if node.primitive.exact:
            for value in node.params.values():
                kinds = {type(item) for item in value} if isinstance(value, tuple) else {type(value)}
                assert kinds <= {int, bool, str, DType}
                assert len(kinds) < 2


@pytest.mark.parametrize(("name", "sample"), CASES)
def test_tangents_and_gradients_agree(name: str, sample: Sample) -> None:
    """<u, J v> = <J' u, v>, for the op and for its gradient."""
    case = traced(name, sample)
    roots = recorded(case)
    for order in (1, 2):
        if not roots:
            return
        rng = np.random.default_rng(5)
        with building(case.builder):
            tangents = {}
            for key in case.differentiable:
                case.values[f"v{order}{key}"] = rng.standard_normal(case.values[key].shape)
                tangents[key] = leaf(("tensors", f"v{order}{key}"), float64, case.leaves[key].shape)
            pushed = jvp(roots, {case.leaves[key]: tangent for key, tangent in tangents.items()})
        found, _ = gradients(case, roots, np.random.default_rng(6))
        seeds = [case.values[key] for key in list(case.values)[-len(roots) :]]
        moved = case.run([tangent for tangent in pushed if tangent is not None])
        seeds = [seed for seed, tangent in zip(seeds, pushed, strict=True) if tangent is not None]
        forward = sum(float((u * jv).sum()) for u, jv in zip(seeds, moved, strict=True))
        values = case.run(list(found.values()))
        backward_ = sum(float((g * case.values[f"v{order}{k}"]).sum()) for k, g in zip(found, values, strict=True))
        scale = max(1.0, *(float(np.abs(value).sum()) for value in [*values, *moved]), 1.0)
        assert abs(forward - backward_) <= 1e-10 * scale
        roots = [gradient for gradient in found.values() if gradient.requires_grad]


@pytest.mark.parametrize(("name", "sample"), CASES)
def test_the_order_of_modes_does_not_matter(name: str, sample: Sample) -> None:
    """Second derivatives are one by forward over reverse, reverse over forward and reverse over reverse mode."""
    case = traced(name, sample)
    if not recorded(case):
        return
    leaves = [case.leaves[key] for key in case.differentiable]
    wanted, *others = [
        [_values(case, tensor, like) for tensor, like in zip(found, leaves, strict=True)]
        for found in _second_derivatives(case, leaves)
    ]
    for other in others:
        for one, same in zip(wanted, other, strict=True):
            np.testing.assert_allclose(same, one, rtol=1e-9, atol=1e-10 * max(1.0, float(np.abs(one).max(initial=0))))


def _second_derivatives(case: Case, leaves: list[Tensor]) -> list[list[Tensor | None]]:
    """Return the second derivatives of <seeds, results> in random directions, three times."""
    rng = np.random.default_rng(10)
    roots = recorded(case)
    with building(case.builder):
        directions = {tensor: _drawn(case, f"v_{place}", tensor, rng) for place, tensor in enumerate(leaves)}
        seeds = [_drawn(case, f"u_{place}", root, rng) for place, root in enumerate(roots)]
        gradients = dict(zip(leaves, backward(list(zip(roots, seeds, strict=True)), leaves), strict=True))
        tangents = jvp(roots, directions)
        found = {tensor: gradient for tensor, gradient in gradients.items() if gradient is not None}
        forward_over_reverse = dict(zip(found, jvp(list(found.values()), directions), strict=True))
        return [
            [forward_over_reverse.get(tensor) for tensor in leaves],
            backward(_moving(tangents, seeds), leaves),
            backward(_moving(list(gradients.values()), list(directions.values())), leaves),
        ]


def _moving(roots: Sequence[Tensor | None], seeds: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    return [(root, seed) for root, seed in zip(roots, seeds, strict=True) if root is not None and root.requires_grad]


def _drawn(case: Case, key: str, like: Tensor, rng: np.random.Generator) -> Tensor:
    """Return a leaf of random values, of a tensor's type."""
    case.values[key] = rng.standard_normal(like.shape).astype(like.dtype.numpy)
    return leaf(("tensors", key), like.dtype, like.shape)


def _values(case: Case, tensor: Tensor | None, like: Tensor) -> np.ndarray:
    """Return a derivative's values, zeros where there is none."""
    return np.zeros(like.shape) if tensor is None else case.run([tensor])[0]


@pytest.mark.parametrize(("name", "sample"), CASES)
def test_batched_is_looped(name: str, sample: Sample) -> None:
    """An op and its gradient, mapped over one input at a time and over all, are what a loop gives."""
    case = traced(name, sample)
    case.results += tuple(gradients(case, recorded(case), np.random.default_rng(8))[0].values())
    rng = np.random.default_rng(9)
    keys = list(case.leaves)
    for chosen in [[key] for key in keys] + [keys] * (len(keys) > 1):
        stacks = {key: _neighbours(case.values[key], rng) for key in chosen}
        with building(case.builder):
            mapped = {}
            for key in chosen:
                tensor = case.leaves[key]
                source = ("tensors", f"many_{key}")
                mapped[tensor] = leaf(source, tensor.dtype, (3, *tensor.shape))
            many = batched(case.results, mapped, 3)
        together = case.run(many, **{f"many_{key}": stack for key, stack in stacks.items()})
        for index in range(3):
            alone = case.run(case.results, **{key: stack[index] for key, stack in stacks.items()})
            for one, every in zip(alone, together, strict=True):
                assert every.dtype == one.dtype
                np.testing.assert_allclose(every[index], one, rtol=1e-10, atol=1e-10)


def _neighbours(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return three arrays: the values, the values in another order along the first axis, and scaled a little."""
    if values.dtype.kind != "f":
        return np.stack([values, values[::-1] if values.ndim else values, values])
    return np.stack([values, values * 1.01, values * 0.99])
