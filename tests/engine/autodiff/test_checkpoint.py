"""Checkpoints: what a chain of 64 layers holds at once with a cut at every eighth, what that costs, and that it changes
nothing. `make bench` times the same chain.
"""

from __future__ import annotations

import tracemalloc
from collections import Counter
from typing import Any

import numpy as np
import pytest

from engine.compile.compile import derived
from engine.compile.compiled import Compiled
from engine.compile.derivatives.gradients import GradientRequest
from engine.compile.explain import explain
from engine.execute.numpy.runner import numpy_executor
from engine.graph.limits import Limits
from engine.program.program import Program
from tests.engine.programs import Array, call, given, program

LAYERS = 64
CUTS = tuple(f"h{layer}" for layer in range(7, LAYERS - 1, 8))
RNG = np.random.default_rng(11)


def network() -> tuple[Program, dict[str, Array]]:
    """Layers whose weights take no room beside their values: silu(x w + b), again and again."""
    values = {"x": RNG.standard_normal((512, 16))}
    calls, before = [], "x"
    for layer in range(LAYERS):
        values[f"w{layer}"] = RNG.standard_normal((16, 16)) / 4
        values[f"b{layer}"] = RNG.standard_normal(16) / 10
        calls.append(call("linear", before, f"w{layer}", f"b{layer}", output=f"z{layer}"))
        calls.append(call("silu", f"z{layer}", output=f"h{layer}"))
        before = f"h{layer}"
    return program(values, *calls, call("sum", before, output="loss")), values


PROGRAM, VALUES = network()
REQUESTS = {
    name: GradientRequest(wrt=tuple(n for n in VALUES if n != "x"), checkpoint=cuts)
    for name, cuts in (("plain", ()), ("cut", CUTS))
}
PLANNED = {name: derived(PROGRAM, request, Limits())[1] for name, request in REQUESTS.items()}
COMPILED = {name: planned.executable(numpy_executor) for name, planned in PLANNED.items()}


@pytest.fixture(scope="module")
def explained() -> dict[str, Any]:
    return {name: explain(PROGRAM, request, Limits()) for name, request in REQUESTS.items()}


def measured(compiled: Compiled) -> int:
    """The most memory that a run holds beyond its inputs, as NumPy reports it."""
    compiled.run(given(VALUES))
    tracemalloc.start()
    results = compiled.run(given(VALUES))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert results
    return peak


def test_gradients_are_the_same_to_the_last_bit() -> None:
    plain, cut = (compiled.run(given(VALUES))["gradients"] for compiled in COMPILED.values())
    assert plain.keys() == cut.keys()
    for name, gradient in plain.items():
        np.testing.assert_array_equal(cut[name], gradient, strict=True)


def test_the_peak_that_is_planned_falls_fourfold(explained: dict[str, Any]) -> None:
    plain, cut = (found["cost"]["total"]["peak_bytes"] for found in explained.values())
    assert plain >= 4 * cut


def test_the_peak_that_is_measured_falls_fourfold() -> None:
    plain, cut = map(measured, COMPILED.values())
    assert plain >= 4 * cut


def test_the_peak_that_is_measured_is_no_more_than_is_planned() -> None:
    for compiled in COMPILED.values():
        assert measured(compiled) <= compiled.peak_bytes


def test_between_cuts_nothing_is_kept_and_it_is_said_what_needs_the_rest(explained: dict[str, Any]) -> None:
    kept = [found for found in explained["cut"]["kept"] if found["name"]]
    before = [found for found in kept if found["name"] in CUTS[:-1]]
    assert [found["name"] for found in before] == [*reversed(CUTS[:-1])]
    assert all(found["needed_by"] for found in kept)
    last = {f"{kind}{layer}" for layer in range(56, LAYERS) for kind in "zh"}
    assert {found["name"] for found in kept} <= {*CUTS, *last}


def test_a_value_is_computed_twice_at_most_and_once_behind_the_last_cut() -> None:
    runs = {
        name: Counter(
            node.origin
            for unit in compiled.executions[0].plan.units
            for node in unit.nodes
            if node.primitive.name == "_matmul" and node.inputs[1].shape == (16, 16) and node.origin is not None
        )
        for name, compiled in PLANNED.items()
    }
    extra = {origin: count - runs["plain"][origin] for origin, count in runs["cut"].items()}
    assert set(extra.values()) == {0, 1}
    assert all(count == 0 for origin, count in extra.items() if origin >= 2 * 56)


def test_flops_grow_by_less_than_a_forward_pass(explained: dict[str, Any]) -> None:
    plain, cut = (found["cost"] for found in explained.values())
    assert cut["total"]["flops"] - plain["total"]["flops"] < plain["forward"]["flops"]
    assert cut["forward"]["flops"] == plain["forward"]["flops"]


def test_where_keeping_costs_no_memory_nothing_is_computed_again() -> None:
    """With a cut at the input alone every value is there at once when the way back begins, either way."""
    _, everything = derived(PROGRAM, GradientRequest(wrt=("w0",), checkpoint=("x",)), Limits())
    _, plain = derived(PROGRAM, GradientRequest(wrt=("w0",)), Limits())
    again, once = (
        Counter(node.primitive.name for unit in compiled.executions[0].plan.units for node in unit.nodes)
        for compiled in (everything, plain)
    )
    assert again == once
