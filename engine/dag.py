"""The serialized DAG: the user's leaves and calls with their types and PyTorch's names of backward nodes, as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from engine.graph import Tensor
from engine.op import camel
from engine.program import Argument, Ref
from engine.trace import Trace, TracedCall, names_read


def serialize(trace: Trace, roots: Sequence[str]) -> dict[str, Any]:
    """Return `{"nodes": [...], "roots": [...]}`, the nodes in the order in which they run: leaves, then calls."""
    owner: dict[str, str] = {}
    nodes = [_leaf(name, trace.names[name]) for name in trace.program.tensors]
    for traced in trace.calls:
        named = [name for name in traced.names if name is not None]
        for name in named:
            owner[name] = named[0]
        nodes.append(_call(trace, traced, named, owner))
    return {"nodes": nodes, "roots": list(roots)}


def _leaf(name: str, tensor: Tensor) -> dict[str, Any]:
    return {
        "name": name,
        "op": None,
        "inputs": [],
        "attributes": {},
        **_type(tensor),
        "is_leaf": True,
        "grad_fn": "AccumulateGrad" if tensor.requires_grad else None,
        "next_functions": [],
    }


def _call(trace: Trace, traced: TracedCall, named: list[str], owner: dict[str, str]) -> dict[str, Any]:
    results = [result for name, result in zip(traced.names, traced.results, strict=True) if name is not None]
    recorded = any(result.requires_grad for result in traced.results)
    node = {
        "name": named[0] if named else None,
        "op": traced.call.op,
        "inputs": _inputs(traced),
        "attributes": {name: _literal(value) for name, value in traced.call.attributes.items()},
        **_type(results[0] if results else traced.results[0]),
        "requires_grad": recorded,
        "is_leaf": False,
        "grad_fn": grad_fn(traced) if recorded else None,
        "next_functions": _next_functions(trace, traced, owner) if recorded else [],
    }
    if not isinstance(traced.call.output, str):
        node["outputs"] = list(traced.names)
    return node


def _type(tensor: Tensor) -> dict[str, Any]:
    return {"shape": list(tensor.shape), "dtype": tensor.dtype.name, "requires_grad": tensor.requires_grad}


def grad_fn(traced: TracedCall) -> str | None:
    """Return PyTorch's name of the call's backward node."""
    named = traced.op.grad_fn
    if named is None:
        return camel(traced.op.name)
    if isinstance(named, str):
        return named
    return named(traced.arguments, traced.results[0])


def _next_functions(trace: Trace, traced: TracedCall, owner: dict[str, str]) -> list[str]:
    return [owner.get(name, name) for name in names_read(traced.call) if trace.names[name].requires_grad]


def _inputs(traced: TracedCall) -> list[Any] | dict[str, Any]:
    given = traced.call.inputs
    if isinstance(given, tuple):
        return [_literal(argument) for argument in given]
    return {name: _literal(argument) for name, argument in given.items()}


def _literal(argument: Argument) -> Any:
    if isinstance(argument, Ref):
        return argument.name
    if isinstance(argument, tuple):
        return [_literal(item) for item in argument]
    if isinstance(argument, float) and not math.isfinite(argument):
        return {"number": "NaN" if math.isnan(argument) else "Infinity" if argument > 0 else "-Infinity"}
    return argument
