"""The serialized DAG: the user's leaves and calls with their types and PyTorch's names of backward nodes, as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from engine.op import camel
from engine.program import Argument, Call, Leaf, Ref
from engine.trace import Trace, TracedCall, names_read, output_names
from engine.types import DType, Shape


class Row(NamedTuple):
    """A call with the type of its first named result, which of its results require grad, and its backward node."""

    call: Call
    dtype: DType
    shape: Shape
    requires_grad: tuple[bool, ...]
    grad_fn: str | None


@dataclass(frozen=True, slots=True)
class Dag:
    """What the serialized DAG is made of: a tenth of its size, so that plans can keep it."""

    tensors: Mapping[str, Leaf]
    rows: tuple[Row, ...]
    roots: tuple[str, ...]

    @classmethod
    def of(cls, trace: Trace, roots: Sequence[str]) -> Dag:
        """Return the DAG of a typed program, the calls in the order in which they run."""
        return cls(trace.program.tensors, tuple(map(_row, trace.calls)), tuple(roots))

    def serialized(self) -> dict[str, Any]:
        """Return `{"nodes": [...], "roots": [...]}`: leaves, then calls."""
        owner = {name: name for name, given in self.tensors.items() if given.requires_grad}
        nodes = [_leaf(name, given) for name, given in self.tensors.items()]
        nodes += [_node(row, owner) for row in self.rows]
        return {"nodes": nodes, "roots": list(self.roots)}


_NO, _YES = (False,), (True,)


def _row(traced: TracedCall) -> Row:
    results = traced.results
    requires_grad: tuple[bool, ...]
    if len(results) == 1:
        first, requires_grad = results[0], _YES if results[0].requires_grad else _NO
    else:
        named = [result for name, result in zip(traced.names, results, strict=True) if name is not None]
        first, requires_grad = (named or results)[0], tuple([result.requires_grad for result in results])
    recorded = True in requires_grad
    return Row(traced.call, first.dtype, first.shape, requires_grad, grad_fn(traced) if recorded else None)


def _leaf(name: str, given: Leaf) -> dict[str, Any]:
    return {
        "name": name,
        "op": None,
        "inputs": [],
        "attributes": {},
        "shape": list(given.shape),
        "dtype": given.dtype.name,
        "requires_grad": given.requires_grad,
        "is_leaf": True,
        "grad_fn": "AccumulateGrad" if given.requires_grad else None,
        "next_functions": [],
    }


def _node(row: Row, owner: dict[str, str]) -> dict[str, Any]:
    """Return a call's node. `owner` says which node each name that requires grad belongs to; its own are added."""
    call = row.call
    names = output_names(call)
    first = next((name for name in names if name is not None), None)
    recorded = True in row.requires_grad
    node = {
        "name": first,
        "op": call.op,
        "inputs": _inputs(call),
        "attributes": {name: _literal(value) for name, value in call.attributes.items()},
        "shape": list(row.shape),
        "dtype": row.dtype.name,
        "requires_grad": recorded,
        "is_leaf": False,
        "grad_fn": row.grad_fn,
        "next_functions": [owner[name] for name in names_read(call) if name in owner] if recorded else [],
    }
    if not isinstance(call.output, str):
        node["outputs"] = list(names)
    if first is not None:
        owner.update(
            {name: first for name, own in zip(names, row.requires_grad, strict=True) if own and name is not None}
        )
    return node


def grad_fn(traced: TracedCall) -> str | None:
    """Return PyTorch's name of the call's backward node."""
    named = traced.op.grad_fn
    if named is None:
        return camel(traced.op.name)
    if isinstance(named, str):
        return named
    return named(traced.arguments, traced.results[0])


def _inputs(call: Call) -> list[Any] | dict[str, Any]:
    given = call.inputs
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
