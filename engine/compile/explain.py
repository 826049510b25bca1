"""Explanations of requests: the plan's steps and their costs, computed from shapes without a run.

The service returns an explanation unchanged: it is plain data for JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import reduce
from operator import add
from typing import Any

from engine.autodiff.vmap import batched
from engine.compile.compile import derived
from engine.compile.compiled import Compiled, Execution
from engine.compile.derivation import Derivation
from engine.compile.estimate import runs
from engine.compile.request import Request
from engine.graph.graph import Node, Tensor, building
from engine.graph.limits import Limits
from engine.graph.promotion import CONSTANT
from engine.graph.traits import size
from engine.graph.types import numel
from engine.optimize.cost import Cost, step_cost, stored
from engine.plan.plan import Plan
from engine.plan.steps import Step, Unit
from engine.program.program import Program

PASSES = ("forward", "backward")


def explain(program: Program, request: Request, limits: Limits, deadline: float | None = None) -> dict[str, Any]:
    """Return the explanation of a request. Nothing runs.

    A request over the memory limit is explained too: its headroom is negative. For all other faults it raises
    GraphError as `compile` does. Raises DeadlineExceeded.
    """
    derivation, compiled = derived(program, request, limits, deadline)
    names = _Names(derivation)
    executions = [_explained(execution, names) for execution in compiled.executions]
    return {
        "dag": compiled.dag,
        "plan": {
            "sweeps": executions,
            "clusters": sum(step["cluster"] for execution in executions for step in execution["steps"]),
        },
        "cost": _totals(compiled),
        "kept": [kept for execution in compiled.executions for kept in _kept(execution.plan, names)],
        "passes": _passes(compiled),
        "vmap": {
            "size": derivation.vmap.size,
            "loops": [],
        },  # every primitive takes a leading axis: there are no loops
        "limits": _limits(derivation, compiled),
        "warnings": list(compiled.warnings),
    }


class _Names:
    """The names of tensors and ops in the program."""

    def __init__(self, derivation: Derivation) -> None:
        named = derivation.traced.names  # the first name of a tensor wins
        self._tensors = {tensor: name for name, tensor in reversed(named.items())}
        if derivation.vmap.size is not None:
            with building(derivation.traced.builder):
                mapped = batched(list(named.values()), derivation.vmap.mapped, derivation.vmap.size)
            self._tensors |= dict(zip(reversed(mapped), reversed(named), strict=True))
        self._ops = {
            call.index: next((name for name in call.names if name is not None), None)
            for call in derivation.traced.calls
        }

    def tensor(self, tensor: Tensor) -> str | None:
        """Return a tensor's name, or None for a tensor inside an op or a derivative."""
        return self._tensors.get(tensor)

    def op(self, node: Node) -> str | None:
        """Return the name of the program's op that made a node: the name of its node in the DAG."""
        return None if node.origin is None else self._ops.get(node.origin)

    def ops(self, nodes: Sequence[Node]) -> list[str]:
        """Return the names of the ops that made the nodes, without duplicates."""
        return list(dict.fromkeys(name for node in nodes if (name := self.op(node)) is not None))


def _explained(execution: Execution, names: _Names) -> dict[str, Any]:
    plan = execution.plan
    places = [*execution.values, *(block.place for block in execution.blocks)]
    return {
        "results": [list(place) for place in places],
        "runs": runs(execution),
        "slots": len(plan.memory),
        "steps": [
            _step(step, unit, held, plan, names)
            for step, unit, held in zip(plan.code.steps(), plan.units, plan.held, strict=True)
        ],
    }


def _step(step: Step, unit: Unit, held: int, plan: Plan, names: _Names) -> dict[str, Any]:
    _, args, written, dead = step
    results = [written] if isinstance(written, int) else written
    return {
        "primitives": [node.primitive.name.strip("_") for node in unit.nodes],
        "ops": names.ops(unit.nodes),
        "pass": _pass(unit, plan),
        "cluster": len(unit.nodes) > 1,
        "reads": [_slot(slot, tensor) for slot, tensor in zip(args, unit.inputs, strict=True)],
        "writes": [_slot(slot, tensor) for slot, tensor in zip(results, unit.outputs, strict=True)],
        "frees": [*dead, *(slot for slot in results if slot in args)],
        **_figures(step_cost(unit.nodes, unit.inputs, unit.outputs)),
        "held_bytes": held,
    }


def _figures(cost: Cost) -> dict[str, int]:
    """Return all figures but the effort, which only the prediction of time uses."""
    return {name: figure for name, figure in asdict(cost).items() if name != "effort"}


def _slot(slot: int, tensor: Tensor) -> dict[str, Any]:
    return {"slot": slot, "dtype": tensor.dtype.name, "shape": list(tensor.shape)}


def _pass(unit: Unit, plan: Plan) -> str:
    """Return the pass of a step. A cluster with a node of the backward pass belongs to the backward pass."""
    return PASSES[any(node.index >= plan.boundary for node in unit.nodes)]


def _totals(compiled: Compiled) -> dict[str, Any]:
    """Return the cost and the peak memory of each pass and of all passes."""
    costs = {name: Cost() for name in PASSES}
    peaks = dict.fromkeys(PASSES, 0)
    for execution in compiled.executions:
        for unit, held in zip(execution.plan.units, execution.plan.held, strict=True):
            name = _pass(unit, execution.plan)
            costs[name] += step_cost(unit.nodes, unit.inputs, unit.outputs) * runs(execution)
            peaks[name] = max(peaks[name], held)
    total = reduce(add, costs.values())
    return {
        **{name: {**_figures(cost), "peak_bytes": peaks[name]} for name, cost in costs.items()},
        "total": {**_figures(total), "peak_bytes": compiled.peak_bytes},
    }


def _kept(plan: Plan, names: _Names) -> Iterator[dict[str, Any]]:
    """Yield the tensors of the forward pass that the backward pass reads, with the ops that read them."""
    needing: dict[Tensor, list[Node]] = {}
    for unit in plan.units:
        for node in unit.nodes:
            for tensor in node.inputs if node.index >= plan.boundary else ():
                if _is_computed(tensor, plan) and not (len(unit.nodes) > 1 and tensor.node in unit.nodes):
                    needing.setdefault(tensor, []).append(node)
    for tensor, nodes in needing.items():
        yield {
            "name": names.tensor(tensor),
            "op": names.op(tensor.node),
            "dtype": tensor.dtype.name,
            "shape": list(tensor.shape),
            "bytes": size(tensor),
            "needed_by": names.ops(nodes),
        }


def _is_computed(tensor: Tensor, plan: Plan) -> bool:
    node = tensor.node
    return bool(node.inputs) and node.index < plan.boundary and node.primitive is not CONSTANT


def _passes(compiled: Compiled) -> dict[str, Any] | None:
    """Return the number of directions of the Jacobian, with and without colouring."""
    jacobians = [
        (execution.unit_vectors, execution.blocks)
        for execution in compiled.executions
        if execution.unit_vectors is not None
    ]
    if not jacobians:
        return None
    needed = sum(vectors.count for vectors, _ in jacobians)
    uncoloured = sum(max(numel(vectors.shape), 1) for vectors, _ in jacobians)
    mode = "forward" if jacobians[0][1][0].axis == "columns" else "reverse"
    return {"mode": mode, "passes": needed, "without_colouring": uncoloured, "saved": uncoloured - needed}


def _limits(derivation: Derivation, compiled: Compiled) -> dict[str, Any]:
    """Return the needed amount, the limit and the headroom of each limited quantity."""
    tensors = [
        tensor
        for execution in compiled.executions
        for unit in execution.plan.units
        for node in unit.nodes
        for tensor in (*node.inputs, *node.outputs)
    ]
    limits = derivation.limits
    needed = {
        "bytes": (compiled.peak_bytes, limits.bytes),
        "elements": (max(map(stored, tensors), default=0), limits.elements),
        "nodes": (len(derivation.traced.builder.nodes), limits.nodes),
        "rank": (max((tensor.ndim for tensor in tensors), default=0), limits.rank),
    }
    return {
        name: {"needed": amount, "limit": limit, "headroom": limit - amount} for name, (amount, limit) in needed.items()
    }
