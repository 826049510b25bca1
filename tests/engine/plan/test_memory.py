"""The memory that a plan says it holds is a bound on what a run takes, measured: inputs, results and kernels' own.

NumPy tells tracemalloc of its arrays. Its loops besides convert operands in buffers of 8,192 elements each.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from benchmarks.workloads import WORKLOADS
from engine.autodiff.vmap import batched
from engine.compile.compile import compile as compile_request
from engine.execute.numpy.lowering import plan
from engine.execute.numpy.runner import Runner
from engine.execute.numpy.tiles import build
from engine.graph.function import Function
from engine.graph.graph import Builder, building
from engine.graph.limits import Limits
from engine.graph.op import REGISTRY
from engine.graph.promotion import leaf
from engine.graph.samples import Sample
from engine.graph.types import DType, Shape, float16, float32, float64
from engine.plan.plan import Plan
from tests.engine.execute.test_execute import with_gradients
from tests.engine.ops.test_laws import CASES

BUFFERS = 4 * 8192 * 8
"""Bytes of the buffers of a loop over four operands."""

MANY = 4000


def measured(made: Plan, given: Mapping[Any, Any]) -> int:
    """Return the bytes that a run takes at most, with its inputs."""
    runner = Runner(made)
    runner.run(given)
    tracemalloc.start()
    try:
        runner.run(given)
        peak = tracemalloc.get_traced_memory()[1]
        return peak + sum([int(given[source].nbytes) for source, _ in made.inputs])
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("name", "sample"), CASES)
@pytest.mark.parametrize("block", [build.BLOCK, 2**24], ids=["blocks", "one block"])
def test_many_samples_and_their_gradients_fit_the_bound(
    name: str, sample: Sample, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "BLOCK", block)
    case, wanted = with_gradients(name, sample)
    given: dict[tuple[str, str], Any] = {("seed", ""): np.int64(7)}
    mapped = {}
    with building(case.builder):
        for key, value in case.values.items():
            given["tensors", key] = value
            if key in case.leaves:
                tensor = case.leaves[key]
                mapped[tensor] = leaf(("many", key), tensor.dtype, (MANY, *tensor.shape))
                given["many", key] = np.ascontiguousarray(np.broadcast_to(value, (MANY, *value.shape)))
        made = plan(Function.of(batched(wanted, mapped, MANY)))
    assert measured(made, given) <= made.peak_bytes + BUFFERS


@pytest.mark.parametrize("dtype", [float16, float32, float64], ids=str)
@pytest.mark.parametrize("shape", [(60, 2), (60, 1), (2, 50), (1, 50)], ids=str)
def test_a_matrix_that_all_samples_share_counts_once(shape: Shape, dtype: DType) -> None:
    rng = np.random.default_rng(0)
    given = {
        ("tensors", "shared"): rng.random((50, 60)).astype(dtype.numpy),
        ("many", "own"): rng.random((MANY, *shape)).astype(dtype.numpy),
    }
    with building(Builder(Limits())):
        shared, own = leaf(("tensors", "shared"), dtype, (50, 60)), leaf(("tensors", "own"), dtype, shape)
        product = REGISTRY["matmul"].function(*((shared, own) if shape[0] == 60 else (own, shared)))
        mapped = {own: leaf(("many", "own"), dtype, (MANY, *shape))}
        made = plan(Function.of(batched([product], mapped, MANY)))
    assert measured(made, given) <= made.peak_bytes + BUFFERS
    assert dtype is float16 or made.peak_bytes < MANY * shared.numel * dtype.itemsize


def kept(wanted: str) -> tuple[int, list[np.ndarray]]:
    """Return the bytes that a run takes in which a cluster reads a product for the last time, and its results."""
    rng = np.random.default_rng(0)
    values = {"a": rng.standard_normal((600, 500)), "b": rng.standard_normal((500, 600))}
    with building(Builder(Limits())):
        a, b = (leaf(("tensors", key), float64, value.shape) for key, value in values.items())
        product = REGISTRY["matmul"].function(a, b)
        result = REGISTRY["exp"].function(product * 0.01) + product
        others = {"nothing": [], "product": [product], "view": [REGISTRY["t"].function(product)]}[wanted]
    made = plan(Function.of([result, *others]))
    given = {("tensors", key): value for key, value in values.items()}
    found = Runner(made).run(given)
    expected = values["a"] @ values["b"]
    np.testing.assert_allclose(found[0], np.exp(expected * 0.01) + expected)
    for other in found[1:]:
        np.testing.assert_allclose(other, expected.T if wanted == "view" else expected)
    return measured(made, given), found


def test_a_cluster_writes_over_what_it_reads_last_unless_somebody_holds_it() -> None:
    most_of_one = 600 * 600 * 6
    alone, _ = kept("nothing")
    assert kept("product")[0] >= alone + most_of_one
    assert kept("view")[0] >= alone + most_of_one


@pytest.mark.parametrize("name", ["elementwise_1m", "mlp", "transformer", "lenet"])
def test_large_workloads_fit_the_bound(name: str) -> None:
    known = WORKLOADS[name]
    case = known.case(**known.full)
    (execution,) = compile_request(case.program, case.request, Limits()).executions
    given = {("tensors", key): value for key, value in case.values.items()}
    assert measured(execution.plan, given) <= execution.plan.peak_bytes + BUFFERS
