"""One op at a time: its value, the gradient and the Hessian of a weighted sum of its result, and its refusals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import engine.ops  # noqa: F401
from engine.compile.compile import compile as compile_request
from engine.compile.derivatives.forward import ForwardRequest
from engine.compile.derivatives.gradients import GradientRequest
from engine.compile.derivatives.hessian import HessianRequest
from engine.compile.request import Request
from engine.graph.limits import Limits
from engine.program.program import OpCall, Program, Ref
from tests.engine.programs import Array, call, given, program


def _ran(request: Request, inputs: dict[str, Any], *calls: OpCall) -> Any:
    typed: Program = program(inputs, *calls)
    return compile_request(typed, request, Limits()).run(given(inputs))


def _named(inputs: tuple[Any, ...]) -> tuple[dict[str, Any], list[Any]]:
    """Return the arrays by name, and the arguments with names in their place."""
    arrays = {f"t{place}": value for place, value in enumerate(inputs) if isinstance(value, np.ndarray)}
    return arrays, [f"t{place}" if f"t{place}" in arrays else value for place, value in enumerate(inputs)]


def value(op: str, *inputs: Any, results: int = 1, **attributes: Any) -> Any:
    """Return the result of an op, or the list of its results. Inputs that are no arrays are literals."""
    arrays, arguments = _named(inputs)
    names = [f"y{place}" for place in range(results)]
    output: Any = names[0] if results == 1 else tuple(names)
    ran = _ran(ForwardRequest(outputs=tuple(names)), arrays, call(op, *arguments, output=output, **attributes))
    found = list(ran["outputs"].values())
    return found[0] if results == 1 else found


def of_list(op: str, inputs: Sequence[Array], **attributes: Any) -> Any:
    """Return the result of an op that takes a list of tensors."""
    arrays, names = _named(tuple(inputs))
    ran = _ran(ForwardRequest(outputs=("y",)), arrays, call(op, names, output="y", **attributes))
    return ran["outputs"]["y"]


def _total(
    op: str, inputs: tuple[Any, ...], place: int, results: int, attributes: Any
) -> tuple[dict[str, Any], list[OpCall]]:
    """Return the calls that sum one result of an op."""
    arrays, arguments = _named(inputs)
    output: Any = "y" if results == 1 else tuple("y" if index == place else None for index in range(results))
    return arrays, [call(op, *arguments, output=output, **attributes), OpCall("sum", (Ref("y"),), {}, "total")]


def gradients(op: str, *inputs: Any, place: int = 0, results: int = 1, **attributes: Any) -> list[Array | None]:
    """Return the gradients of the sum of an op's result (the one at `place`) with respect to its floating inputs."""
    arrays, calls = _total(op, inputs, place, results, attributes)
    ran = _ran(GradientRequest(backward={"total": None}, outputs=()), arrays, *calls)
    return list(ran["gradients"].values())


def gradient(op: str, *inputs: Any, place: int = 0, results: int = 1, **attributes: Any) -> Any:
    """Return the gradient of the sum of an op's result with respect to its only floating input."""
    (found,) = gradients(op, *inputs, place=place, results=results, **attributes)
    return found


def hessian(op: str, *inputs: Any, **attributes: Any) -> Any:
    """Return the second derivatives of the sum of an op's result with respect to its first input."""
    arrays, calls = _total(op, inputs, 0, 1, attributes)
    ran = _ran(HessianRequest(output="total", wrt=("t0",)), arrays, *calls)
    return ran["hessian"]["t0"]["t0"]
