"""Views that repeat elements take no memory: the limits and the cost count what is stored."""

from __future__ import annotations

import numpy as np
import pytest

from engine.compile.compile import compile as compile_request
from engine.compile.derivatives.forward import ForwardRequest
from engine.compile.derivatives.gradients import GradientRequest
from engine.compile.estimate import estimate
from engine.errors import GraphError
from engine.graph.limits import Limits
from engine.program.program import Program
from tests.engine.programs import call, given, program

RNG = np.random.default_rng(3)
W, X = RNG.standard_normal((16, 16)), RNG.standard_normal((9, 16))
LIMITS = Limits(elements=1000)
"""More elements than the shared matrix and the samples have, fewer than the matrix repeated for each sample."""

PRODUCT = call("matmul", "w", "x", output="y")
TOTAL = call("sum", "y", output="s")


def fault(made: Program, outputs: tuple[str, ...], limits: Limits = LIMITS, **axes: int) -> tuple[str, str]:
    """Return the code of the fault and the beginning of its detail."""
    with pytest.raises(GraphError) as raised:
        compile_request(made, ForwardRequest(outputs=outputs, vmap=axes), limits)
    [found] = raised.value.faults
    return found.code, found.detail


def test_a_shared_tensor_of_2_to_the_20_elements_runs_for_257_samples() -> None:
    shared = program({"w": np.empty((1024, 1024)), "x": np.empty((257, 1024))}, PRODUCT)
    compiled = compile_request(shared, ForwardRequest(vmap={"x": 0}), Limits())
    assert compiled.peak_bytes < 64 * 2**20
    assert estimate(compiled).cost.bytes_read < 64 * 2**20


def test_a_shared_tensor_is_counted_once_whatever_the_samples() -> None:
    values = {"w": W, "x": X}
    compiled = compile_request(program(values, PRODUCT, TOTAL), ForwardRequest(outputs=("y",), vmap={"x": 0}), LIMITS)
    np.testing.assert_allclose(compiled.run(given(values))["outputs"]["y"], X @ W.T, rtol=1e-12)


def test_gradients_of_samples_read_the_shared_tensor_as_a_view() -> None:
    values = {"w": W, "x": X}
    request = GradientRequest(wrt=("x",), vmap={"x": 0})
    compiled = compile_request(program(values, PRODUCT, TOTAL), request, LIMITS)
    found = compiled.run(given(values))["gradients"]["x"]
    np.testing.assert_allclose(found, np.tile(W.sum(0), (9, 1)), rtol=1e-12)


def test_a_gradient_for_each_sample_is_stored_and_refused() -> None:
    request = GradientRequest(wrt=("w",), vmap={"x": 0})
    with pytest.raises(GraphError, match="over the limit"):
        compile_request(program({"w": W, "x": X}, PRODUCT, TOTAL), request, LIMITS)


def test_an_output_that_repeats_is_refused_because_the_reply_holds_all_of_it() -> None:
    values = {"w": W, "x": X}
    made = program(values, call("neg", "w", output="n"), call("sum", "x", output="s"))
    code, detail = fault(made, ("n", "s"), x=0)
    assert (code, "[9, 16, 16]" in detail) == ("elements_limit", True)


def test_a_copy_of_what_repeats_is_refused_before_it_is_made() -> None:
    values = {"w": W, "x": X}
    made = program(values, call("cat", ["w", "c"], output="y"), call("reshape", "x", [1, 16], output="c"), TOTAL)
    assert fault(made, ("s",), x=0)[0] == "elements_limit"


def test_expanding_over_the_limit_is_refused_where_it_is_asked_for() -> None:
    made = program({"x": np.float64(1)}, call("expand", "x", 10**12, output="e"), call("sum", "e", output="s"))
    with pytest.raises(GraphError) as raised:
        compile_request(made, ForwardRequest(outputs=("s",)), Limits())
    [found] = raised.value.faults
    assert (found.code, found.path) == ("elements_limit", ("graph", "ops", 0))


def test_what_a_view_takes_to_read_is_counted_whole() -> None:
    wide = call("expand", "x", 2**27, output="e")
    made = program({"x": np.empty((2**15,))}, wide, call("sum", "e", output="s"))
    compiled = compile_request(made, ForwardRequest(outputs=("s",), vmap={"x": 0}), Limits())
    assert estimate(compiled).cost.flops >= 2**42
