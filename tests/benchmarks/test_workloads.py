"""The workloads that gradd is measured on, at small sizes: what is timed is right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks.results import TITLES
from benchmarks.timing import compare
from benchmarks.workload import LIMITS, Array, Case, Workload
from benchmarks.workloads import CATALOGUE, WORKLOADS
from engine.compile.compile import compile as compile_request
from engine.compile.derivatives.forward import ForwardRequest
from engine.compile.derivatives.gradients import GradientRequest
from engine.compile.derivatives.hessian import HessianRequest
from engine.compile.request import Request
from engine.graph.types import float32, float64
from engine.program.program import Program

WORK = pytest.mark.parametrize("workload", CATALOGUE, ids=lambda workload: workload.name)
STEP = 1e-6


def in_double(case: Case) -> tuple[Program, dict[str, Array]]:
    """Return the case's program and values with double in place of single precision."""
    tensors = {
        name: replace(leaf, dtype=float64) if leaf.dtype is float32 else leaf
        for name, leaf in case.program.tensors.items()
    }
    values = {name: np.asarray(value, tensors[name].dtype.numpy) for name, value in case.values.items()}
    return replace(case.program, tensors=tensors, dtype=float64), values


def results(program: Program, request: Request, values: Mapping[str, Array]) -> dict[str, Any]:
    compiled = compile_request(program, request, LIMITS)
    return compiled.run({("tensors", name): value for name, value in values.items()})


@WORK
def test_it_runs_and_is_finite(workload: Workload) -> None:
    case = workload.case(**workload.small)
    found = case.contestants["gradd"]()()
    assert len(found) == len(case.answers)
    assert all(np.isfinite(array).all() for array in found)


@WORK
def test_derivatives_are_central_differences(workload: Workload) -> None:
    case = workload.case(**workload.small)
    program, values = in_double(case)
    names = [name for name, leaf in program.tensors.items() if leaf.requires_grad]
    rng = np.random.default_rng(0)
    directions = {name: rng.standard_normal(values[name].shape) for name in names}

    def moved(step: float, request: Request) -> dict[str, Any]:
        shifted = {name: values[name] + step * direction for name, direction in directions.items()}
        return results(program, request, {**values, **shifted})

    def differences(request: Request, group: str, name: str) -> Array:
        ahead, behind = (np.asarray(moved(step, request)[group][name]) for step in (STEP, -STEP))
        return np.asarray((ahead - behind) / (2 * STEP))

    derivatives = results(program, case.request, values)
    if isinstance(case.request, HessianRequest):
        found = derivatives["hessian"]["w"]["w"] @ directions["w"]
        expected = differences(GradientRequest(), "gradients", "w")
    else:
        assert isinstance(case.request, GradientRequest)
        forward = ForwardRequest(outputs=("loss",), vmap=case.request.vmap)
        expected = differences(forward, "outputs", "loss")
        gradients = derivatives["gradients"]
        found = sum(np.tensordot(gradients[name], along, np.ndim(along)) for name, along in directions.items())
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["tutorial", "elementwise_1m"])
def test_what_is_written_by_hand_gives_the_same(name: str) -> None:
    workload = WORKLOADS[name]
    contestants = workload.case(**workload.small).contestants
    assert not compare({name: contestants[name]()() for name in ("gradd", "numpy")}, workload.rtol)


@WORK
def test_targets_are_of_contestants_that_take_part(workload: Workload) -> None:
    contestants = workload.case(**workload.small).contestants
    assert contestants.keys() <= TITLES.keys()
    for target in (*workload.time, *workload.memory):
        assert contestants.keys() >= set(target.peers)


def test_checkpoints_change_no_bit() -> None:
    workload = WORKLOADS["checkpoint"]
    found = {name: prepare()() for name, prepare in workload.case(**workload.small).contestants.items()}
    assert not compare(found, rtol=0)
