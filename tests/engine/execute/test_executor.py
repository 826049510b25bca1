"""An executor other than NumPy's gets functions without any rewrite for NumPy, and gives the same results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from engine.check.compile import compile_check
from engine.check.run import CheckRequest
from engine.compile.compile import compile as compile_request
from engine.compile.derivatives.forward import ForwardRequest
from engine.compile.derivatives.gradients import GradientRequest
from engine.compile.derivatives.hessian import HessianRequest
from engine.compile.derivatives.hvp import ProductRequest
from engine.compile.derivatives.jacobian import JacobianRequest
from engine.compile.derivatives.jvp import TangentRequest
from engine.compile.request import Request
from engine.execute.executor import Executable
from engine.graph.function import Function
from engine.graph.graph import Tensor
from engine.graph.limits import Limits
from engine.graph.types import float64
from engine.plan.plan import Plan, Source
from engine.program.program import Leaf
from tests.engine.programs import call, given, program


class Interpreter:
    """Runs a function node by node, with the kernels that primitives name. The graph is released after planning."""

    def __init__(self, function: Function) -> None:
        self.inputs = [(tensor.node.params["source"], tensor) for tensor in function.inputs]
        self.outputs = function.outputs
        self.steps = [(node.primitive, node.inputs, node.params, node.outputs) for node in function.nodes]

    def run(self, values: Mapping[Source, Any], *, deadline: float | None = None) -> list[Any]:
        assert deadline is None
        memory: dict[Tensor, Any] = {tensor: values[source] for source, tensor in self.inputs}
        with np.errstate(all="ignore"):
            for primitive, inputs, params, outputs in self.steps:
                found = primitive.bind(params)(*[memory[tensor] for tensor in inputs])
                memory.update(zip(outputs, found if primitive.several else [found], strict=True))
        return [memory[tensor] for tensor in self.outputs]


@dataclass
class Interpreting:
    """The executor of interpreters: it remembers the functions that it was given."""

    functions: list[Function] = field(default_factory=list)
    primitives: set[str] = field(default_factory=set)

    def __call__(self, plan: Plan) -> Executable:
        self.functions.append(plan.function)
        self.primitives.update(node.primitive.name for node in plan.function.nodes)
        return Interpreter(plan.function)


RNG = np.random.default_rng(0)
VALUES = {
    "x": RNG.standard_normal((2, 3, 8, 8)),
    "v": RNG.standard_normal((4, 3, 3, 3)),
    "w": RNG.standard_normal((5, 36)),
}
MANY = {**VALUES, "v": RNG.standard_normal((3, 4, 3, 3, 3))}
CALLS = (
    call("conv2d", "x", "v", output="c"),
    call("tanh", "c", output="t"),
    call("max_pool2d", "t", 2, output="m"),
    call("narrow", "m", 1, 0, 1, output="first"),
    call("narrow", "m", 1, 1, 3, output="rest"),
    call("cat", ["rest", "first"], 1, output="turned"),
    call("flatten", "turned", 1, output="f"),
    call("linear", "f", "w", output="z"),
    call("logsumexp", "z", 1, output="y"),
    call("sum", "y", output="loss"),
)
REQUESTS: dict[str, Request] = {
    "forward": ForwardRequest(),
    "gradients": GradientRequest(backward={"loss": None}),
    "gradients with cuts": GradientRequest(backward={"loss": None}, checkpoint=("t", "f")),
    "gradients of watched values": GradientRequest(backward={"loss": None}, detect_anomaly=True),
    "gradients mapped over an axis": GradientRequest(backward={"z": Leaf(float64, (2, 5))}, vmap={"v": 0}),
    "tangents": TangentRequest(tangents={"v": Leaf(float64, (4, 3, 3, 3))}, outputs=("loss",)),
    "jacobian": JacobianRequest(outputs=("y",), wrt=("w",)),
    "hessian": HessianRequest(output="loss", wrt=("v",)),
    "product with the hessian": ProductRequest(vectors={"w": Leaf(float64, (5, 36))}, output="loss"),
}
BROUGHT = {
    **given({"v": RNG.standard_normal((4, 3, 3, 3))}, "tangents"),
    **given({"w": RNG.standard_normal((5, 36))}, "vectors"),
    **given({"z": RNG.standard_normal((2, 5))}, "backward"),
}


def flat(results: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    if not isinstance(results, dict):
        return {path: results}
    return {place: value for name, part in results.items() for place, value in flat(part, (*path, name)).items()}


@pytest.mark.parametrize("name", REQUESTS)
def test_another_executor_gives_the_same_results(name: str) -> None:
    request, executor = REQUESTS[name], Interpreting()
    values = MANY if request.vmap else VALUES
    made = program(values, *CALLS)
    expected = flat(compile_request(made, request, Limits()).run({**given(values), **BROUGHT}))
    found = flat(compile_request(made, request, Limits(), executor=executor).run({**given(values), **BROUGHT}))
    assert found.keys() == expected.keys()
    for place, array in found.items():
        np.testing.assert_allclose(array, expected[place], rtol=1e-9, atol=1e-12)
    assert "_concat_pads" not in executor.primitives
    assert "_correlation" in executor.primitives


def test_a_check_is_run_by_the_executor_that_is_asked_for() -> None:
    executor, request = Interpreting(), CheckRequest(backward={"loss": None}, wrt=("w",))
    check = compile_check(program(VALUES, *CALLS), request, Limits(), executor=executor)
    assert check.run(given(VALUES))["passed"]
    assert len(executor.functions) == 2


def test_what_is_kept_of_a_request_holds_no_function() -> None:
    compiled = compile_request(program(VALUES, *CALLS), REQUESTS["gradients"], Limits())
    assert [execution.plan.function for execution in compiled.executions] == [Function((), (), ())]
