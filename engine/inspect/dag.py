"""The serialized DAG: leaves and calls with their types, and PyTorch's names of the backward nodes, as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.graph.graph import Tensor
from engine.graph.op import camel
from engine.graph.types import DType, Shape
from engine.program.program import Argument, Leaf, OpCall, Ref
from engine.program.references import names_read, output_names
from engine.program.trace import Trace, TracedCall


@dataclass(frozen=True, slots=True)
class Dag:
    """The data from which the serialized DAG is computed. It is a tenth of its size, so cached plans contain it.

    `calls` is in the order of execution. For each call, `dtypes` and `shapes` contain the type of the first named
    result, `requires_grad` one flag for each result, and `grad_fns` the name of the backward node.
    """

    tensors: Mapping[str, Leaf]
    calls: tuple[OpCall, ...]
    dtypes: tuple[DType, ...]
    shapes: tuple[Shape, ...]
    requires_grad: tuple[tuple[bool, ...], ...]
    grad_fns: tuple[str | None, ...]
    roots: tuple[str, ...]

    @classmethod
    def of(cls, trace: Trace, roots: Sequence[str]) -> Dag:
        """Return the DAG of a typed program."""
        calls = trace.calls
        firsts = list(map(_first, calls))
        requires_grad = tuple(map(_recorded, calls))
        return cls(
            trace.program.tensors,
            tuple([traced.call for traced in calls]),
            tuple([tensor.dtype for tensor in firsts]),
            tuple([tensor.shape for tensor in firsts]),
            requires_grad,
            tuple([grad_fn(t) if True in own else None for t, own in zip(calls, requires_grad, strict=True)]),
            tuple(roots),
        )

    def serialized(self) -> dict[str, Any]:
        """Return `{"nodes": [...], "roots": [...]}`: leaves, then calls."""
        owner = {name: name for name, given in self.tensors.items() if given.requires_grad}
        nodes = [_leaf(name, given) for name, given in self.tensors.items()]
        nodes += [self._node(place, owner) for place in range(len(self.calls))]
        return {"nodes": nodes, "roots": list(self.roots)}

    def _node(self, place: int, owner: dict[str, str]) -> dict[str, Any]:
        """Return the node of a call.

        `owner` maps each name that requires grad to the name of its node. The names of the call's results are added.
        """
        call, requires_grad = self.calls[place], self.requires_grad[place]
        names = output_names(call)
        first = next((name for name in names if name is not None), None)
        recorded = True in requires_grad
        node = {
            "name": first,
            "op": call.op,
            "inputs": _inputs(call),
            "attributes": {name: _literal(value) for name, value in call.attributes.items()},
            "shape": list(self.shapes[place]),
            "dtype": self.dtypes[place].name,
            "requires_grad": recorded,
            "is_leaf": False,
            "grad_fn": self.grad_fns[place],
            "next_functions": [owner[name] for name in names_read(call) if name in owner] if recorded else [],
        }
        if not isinstance(call.output, str):
            node["outputs"] = list(names)
        for name, own in zip(names, requires_grad, strict=True):
            if own and name is not None and first is not None:
                owner[name] = first
        return node


_NO, _YES = (False,), (True,)


def _first(traced: TracedCall) -> Tensor:
    """Return the first named result, or the first result if none has a name."""
    named = (result for name, result in zip(traced.names, traced.results, strict=True) if name is not None)
    return next(named, traced.results[0])


def _recorded(traced: TracedCall) -> tuple[bool, ...]:
    """Return which results require grad."""
    if len(traced.results) == 1:
        return _YES if traced.results[0].requires_grad else _NO
    return tuple([result.requires_grad for result in traced.results])


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


def grad_fn(traced: TracedCall) -> str | None:
    """Return PyTorch's name of the call's backward node."""
    named = traced.op.grad_fn
    if named is None:
        return camel(traced.op.name)
    if isinstance(named, str):
        return named
    return named(traced.arguments, traced.results[0])


def _inputs(call: OpCall) -> list[Any] | dict[str, Any]:
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
