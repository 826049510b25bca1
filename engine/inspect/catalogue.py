"""The catalogue of ops: signature, documentation, parameters and an example request of each op, as plain data."""

from __future__ import annotations

import typing
from itertools import count
from typing import Any

import numpy as np

import engine.ops  # noqa: F401  # fills the registry
from engine.graph.graph import Builder, building
from engine.graph.limits import Limits
from engine.graph.op import REGISTRY, Op
from engine.graph.primitive import Primitive
from engine.graph.promotion import leaf
from engine.graph.samples import Draw, Sample
from engine.graph.signature import Parameter
from engine.graph.types import DType, bool_, float64, int64


def names() -> list[str]:
    """Return the public names of all ops, sorted."""
    return sorted(REGISTRY)


def describe(name: str) -> dict[str, Any]:
    """Return the catalogue's entry of an op. Raises KeyError for an unknown name."""
    op = REGISTRY[name]
    summary, _, _ = op.doc.partition("\n")
    return {
        "name": op.name,
        "family": op.family,
        "signature": f"{op.name}{op.signature.text}",
        "summary": summary,
        "doc": op.doc,
        "parameters": [_parameter(parameter) for parameter in op.signature.parameters],
        "returns": _returns(op),
        "example": example(op),
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": parameter.name,
        "type": parameter.describe(),
        "required": parameter.required,
        "given_in": "inputs"
        if parameter.takes_tensors
        else "inputs or attributes"
        if parameter.positional
        else "attributes",
    }
    if parameter.choices:
        described["choices"] = list(parameter.choices)
    if not parameter.required and not parameter.variadic:
        default = parameter.default
        described["default"] = default.name if isinstance(default, DType) else default
    return described


def _returns(op: Op) -> str:
    function = op.function.function if isinstance(op.function, Primitive) else op.function
    hint = str(typing.get_type_hints(function)["return"])
    if "tuple" not in hint:
        return "a tensor"
    return "a tensor or several" if "|" in hint else "several tensors"


def example(op: Op) -> dict[str, Any]:
    """Return a graph that calls the op with its first sample, as the JSON of a request. The seed of values is fixed."""
    return graph_of(op, op.samples[0], np.random.default_rng(0)) if op.samples else {}


def graph_of(op: Op, sample: Sample, rng: np.random.Generator) -> dict[str, Any]:
    """Return a graph that calls an op with a sample's arguments, as the JSON of a request."""
    tensors: dict[str, Any] = {}
    call: dict[str, Any] = {"op": op.name, "inputs": [], "output": _output(op, sample)}
    parameters = [p for p in op.signature.parameters if not p.keyword_only]
    attributes: dict[str, Any] = {}
    for position, value in enumerate(sample.args):
        parameter = parameters[min(position, len(parameters) - 1)]
        if parameter.positional:
            call["inputs"].append(_argument(value, parameter.name, tensors, rng))
        else:
            attributes[parameter.name] = _attribute(value)
    named = {}
    for name, value in sample.kwargs.items():
        if _holds_draw(value):
            named[name] = _argument(value, name, tensors, rng)
        else:
            attributes[name] = _attribute(value)
    if named:
        free = [p.name for p in parameters if p.positional]
        call["inputs"] = {**dict(zip(free, call["inputs"], strict=False)), **named}
    if attributes:
        call["attributes"] = attributes
    return {"tensors": tensors, "ops": [call]}


def _output(op: Op, sample: Sample) -> str | list[str]:
    """Return the name of the result, or the names of several results."""

    def placed(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(placed, value))
        if not isinstance(value, Draw):
            return value
        dtype = {"integer": int64, "bool": bool_}.get(value.kind, float64)
        return leaf(("tensors", str(next(numbers))), dtype, value.shape)

    numbers = count()
    with building(Builder(Limits())):
        made = op.function(*map(placed, sample.args), **{key: placed(value) for key, value in sample.kwargs.items()})
    return [f"out_{number}" for number in range(len(made))] if isinstance(made, tuple | list) else "out"


def _holds_draw(value: Any) -> bool:
    return isinstance(value, Draw) or (isinstance(value, tuple) and any(isinstance(item, Draw) for item in value))


def _argument(value: Any, name: str, tensors: dict[str, Any], rng: np.random.Generator) -> Any:
    if isinstance(value, tuple):
        return [_argument(item, name, tensors, rng) for item in value]
    if not isinstance(value, Draw):
        return _attribute(value)
    key = name if name not in tensors else f"{name}_{sum(known.startswith(name) for known in tensors)}"
    values = value.draw(rng)
    tensors[key] = _tensor(values, value)
    return key


def _tensor(values: np.ndarray, draw: Draw) -> Any:
    if values.dtype.kind == "b":
        return {"data": values.tolist(), "dtype": "bool", "shape": list(values.shape)}
    if values.dtype.kind == "i":
        return {"data": values.tolist(), "dtype": "int64", "shape": list(values.shape)}
    data = np.round(values, 2).tolist()
    return {"data": data, "shape": list(values.shape), **({"requires_grad": True} if draw.grad else {})}


def _attribute(value: Any) -> Any:
    if isinstance(value, DType):
        return value.name
    if isinstance(value, tuple):
        return [_attribute(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return {"number": "NaN" if np.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
    return value
