"""Programs and their values, written shortly: what tests of compiled requests are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import engine.ops  # noqa: F401
from engine.errors import GraphError
from engine.graph.limits import Limits
from engine.graph.op import REGISTRY
from engine.graph.samples import Draw, Sample
from engine.graph.types import DTYPES, DType, float64
from engine.program.program import Leaf, OpCall, Program, Ref
from engine.program.trace import trace

Array = np.ndarray[Any, Any]


def call(op: str, *inputs: Any, output: Any = "", **attributes: Any) -> OpCall:
    """Return a call: strings among the inputs are names."""
    return OpCall(op, tuple(map(_argument, inputs)), attributes, output)


def _argument(value: Any) -> Any:
    if isinstance(value, str):
        return Ref(value)
    if isinstance(value, list):
        return tuple(map(_argument, value))
    return value


def program(values: Mapping[str, Any], *calls: OpCall) -> Program:
    """Return a program whose floating tensors require grad, of the types of `values`."""
    arrays = {name: np.asarray(value) for name, value in values.items()}
    leaves = {
        name: Leaf(DTYPES[array.dtype.name], array.shape, array.dtype.kind == "f") for name, array in arrays.items()
    }
    return Program(leaves, calls, float64)


def given(values: Mapping[str, Any], member: str = "tensors") -> dict[tuple[str, str], Array]:
    """Return values as a compiled request takes them."""
    return {(member, name): np.asarray(value) for name, value in values.items()}


def sample_program(name: str, sample: Sample) -> tuple[Program, dict[str, Array]]:
    """Return the program that calls an op with a sample's arguments, and its values."""
    rng = np.random.default_rng(len(name))
    values: dict[str, Array] = {}
    leaves: dict[str, Leaf] = {}

    def placed(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(placed(item) for item in value)
        if not isinstance(value, Draw):
            return value.name if isinstance(value, DType) else value
        key = f"t{len(values)}"
        values[key] = value.draw(rng)
        leaves[key] = Leaf(DTYPES[values[key].dtype.name], values[key].shape, value.grad)
        return Ref(key)

    parameters = REGISTRY[name].signature.parameters
    positional = list(map(placed, sample.args))
    named = {key: placed(value) for key, value in sample.kwargs.items()}
    places = [parameter for parameter in parameters if not parameter.keyword_only]
    inputs: list[Any] = []
    for number, value in enumerate(positional):
        parameter = places[min(number, len(places) - 1)]
        if parameter.positional:
            inputs.append(value)
        else:
            named[parameter.name] = value
    tensors = {p.name for p in parameters if p.takes_tensors}
    if any(key in tensors for key in named):
        free = [p.name for p in places if p.positional]
        whole = {**dict(zip(free, inputs, strict=False)), **{k: v for k, v in named.items() if k in tensors}}
        attributes = {key: value for key, value in named.items() if key not in tensors}
        return Program(leaves, (OpCall(name, whole, attributes, "out"),), float64), values
    return Program(leaves, (OpCall(name, tuple(inputs), named, "out"),), float64), values


def with_outputs(made: Program) -> Program:
    """Return the program with as many names as its op has results."""
    (only,) = made.ops
    for count in range(1, 8):
        names = tuple(f"out{number}" for number in range(count))
        for output in ("out", names) if count == 1 else (names,):
            candidate = Program(made.tensors, (OpCall(only.op, only.inputs, only.attributes, output),), made.dtype)
            try:
                trace(candidate, Limits())
            except GraphError as error:
                if any(fault.code != "output_count" for fault in error.faults):
                    raise
            else:
                return candidate
    raise AssertionError(only.op)
