"""How a plan runs does not change what it gives: in blocks or whole, on one core or several, once or again.

Every op and its gradient, on every sample, with blocks so small that the samples take several.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from engine.execute.numpy.lowering import plan
from engine.execute.numpy.runner import Runner
from engine.execute.numpy.tiles import build
from engine.graph import threads as cores
from engine.graph.function import Function
from engine.graph.graph import Tensor
from engine.graph.promotion import LEAF
from engine.graph.samples import Sample
from engine.optimize import fuse
from tests.engine.ops.test_laws import CASES, Case, gradients, recorded, traced


def with_gradients(name: str, sample: Sample) -> tuple[Case, list[Tensor]]:
    """Return a sample traced, with what is wanted of it: results and gradients."""
    case = traced(name, sample)
    found, _ = gradients(case, recorded(case), np.random.default_rng(11))
    return case, [*case.results, *found.values()]


def run(case: Case, wanted: Sequence[Tensor], *, fuse: bool = True) -> list[np.ndarray]:
    """Return values of tensors."""
    given = {("tensors", name): value for name, value in case.values.items()}
    return list(map(np.asarray, Runner(plan(Function.of(wanted), fuse=fuse)).run({**given, ("seed", ""): np.int64(7)})))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuse, "SMALLEST", 2)
    monkeypatch.setattr(build, "BLOCK", 32)
    monkeypatch.setattr(build, "WORTH_THREADS", 0)
    monkeypatch.setattr(build, "CORES", 2)
    monkeypatch.setattr(cores, "CORES", 2)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(("name", "sample"), CASES)
def test_blocks_give_what_single_nodes_give(name: str, sample: Sample) -> None:
    case, wanted = with_gradients(name, sample)
    for block, single in zip(run(case, wanted), run(case, wanted, fuse=False), strict=True):
        assert block.dtype == single.dtype
        assert block.shape == single.shape
        np.testing.assert_allclose(block, single, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(("name", "sample"), CASES)
def test_a_run_writes_neither_its_inputs_nor_an_earlier_run_s_results(name: str, sample: Sample) -> None:
    case, wanted = with_gradients(name, sample)
    wanted = [tensor for tensor in wanted if tensor.node.primitive is not LEAF]
    runner = Runner(plan(Function.of(wanted)))
    given = {("tensors", key): value for key, value in case.values.items()} | {("seed", ""): np.int64(7)}
    other = {source: value * 1.001 if value.dtype.kind == "f" else value for source, value in given.items()}
    before = {source: value.copy() for source, value in given.items()}
    first = list(map(np.asarray, runner.run(given)))
    kept = [array.copy() for array in first]
    for _ in range(5):
        runner.run(other)
    for array, copy in zip(first, kept, strict=True):
        np.testing.assert_array_equal(array, copy)
    for source, value in before.items():
        np.testing.assert_array_equal(given[source], value)
