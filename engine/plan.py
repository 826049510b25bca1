"""From wanted tensors to a flat list of steps: what runs in which order, from and into which slots, what dies when.

A plan holds no values but constants, so that it can be kept and run many times, by several threads at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.autodiff.reverse import ancestors
from engine.blocked import blocked
from engine.cores import with_threads_of_blas
from engine.cost import DECOMPOSITIONS, flops
from engine.graph import Node, Tensor
from engine.operands import CONSTANT, LEAF
from engine.optimize.fuse import Cluster, fused
from engine.optimize.order import interleaved
from engine.primitive import Kernel

Source = tuple[str, str]
"""What a leaf is read from: the request's member and the name in it, such as ("tensors", "w")."""


FOLDED = 64
"""Elements up to which what constants determine is worked out with the plan and kept in it."""

WORTH_THREADS_OF_BLAS = 2**27
"""Operations from which on a decomposition of matrices gets more threads: a millisecond of one core's."""


@dataclass(frozen=True, slots=True)
class Step:
    """One kernel with the slots it reads and writes, and those that nobody needs after it.

    `results` is one slot, or a tuple of them for a kernel of several results. `nodes` are what it computes, one or a
    cluster's: errors and checks name their origin.
    """

    kernel: Kernel
    args: tuple[int, ...]
    results: int | tuple[int, ...]
    dead: tuple[int, ...]
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps, the slots of inputs and outputs, and the memory as it is at the start: constants, else None.

    `held` bounds the bytes that are alive while each step runs, inputs included; views are counted as copies where they
    may be. `boundary` is the index of the first node that belongs to a derivative.
    """

    steps: tuple[Step, ...]
    inputs: tuple[tuple[Source, int], ...]
    outputs: tuple[int, ...]
    memory: tuple[Any, ...]
    held: tuple[int, ...]
    peak_bytes: int
    boundary: int = 0


@dataclass(frozen=True, slots=True)
class Unit:
    """What becomes a step: a node or a cluster, with the tensors that it reads and gives."""

    nodes: tuple[Node, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    kernel: Kernel
    several: bool
    view: bool


def plan(wanted: Sequence[Tensor], *, fuse: bool = True, boundary: int = 0, turn: int | None = None) -> Plan:
    """Return the plan that computes `wanted`, in their order. Without `fuse` each node is a step of its own.

    Derivatives begin with the node of index `boundary`, tangents with that of index `turn`.
    """
    order = ancestors(wanted)
    if turn is not None:
        order = interleaved(order, boundary, turn)
    constants = _constants(order)
    leaves = [node for node in order if node.primitive is LEAF]
    running = [node for node in order if node.primitive is not LEAF and node.outputs[0] not in constants]
    units = _units(fused(running) if fuse else running, wanted)
    made = [tensor for unit in units for tensor in unit.outputs]
    slots = {tensor: slot for slot, tensor in enumerate([*constants, *[node.outputs[0] for node in leaves], *made])}
    memory: list[Any] = [*constants.values(), *[None] * (len(slots) - len(constants))]
    dying = _dying(units, {*wanted, *constants})
    held = _held([node.outputs[0] for node in leaves], units, dying)
    steps = tuple(
        Step(
            unit.kernel,
            tuple([slots[tensor] for tensor in unit.inputs]),
            tuple([slots[tensor] for tensor in unit.outputs]) if unit.several else slots[unit.outputs[0]],
            tuple([slots[tensor] for tensor in dead]),
            unit.nodes,
        )
        for unit, dead in zip(units, dying, strict=True)
    )
    return Plan(
        steps,
        tuple((node.params["source"], slots[node.outputs[0]]) for node in leaves),
        tuple(slots[tensor] for tensor in wanted),
        tuple(memory),
        held,
        max([*held, sum([_bytes(node.outputs[0]) for node in leaves])]),
        boundary,
    )


def _constants(order: Sequence[Node]) -> dict[Tensor, Any]:
    """Return the values of what small constants alone determine."""
    known: dict[Tensor, Any] = {}
    with np.errstate(all="ignore"):
        for node in order:
            primitive = node.primitive
            if primitive is CONSTANT or (
                node.inputs
                and not primitive.several
                and node.outputs[0].numel <= FOLDED
                and all(tensor in known for tensor in node.inputs)
            ):
                known[node.outputs[0]] = primitive.bind(node.params)(*[known[tensor] for tensor in node.inputs])
    return known


def _units(groups: Iterable[Node | Cluster], wanted: Sequence[Tensor]) -> list[Unit]:
    """Return the units of groups; a cluster gives what is read outside of it."""
    listed = list(groups)
    read: set[Tensor] = set(wanted)
    for group in listed:
        if isinstance(group, Node):
            read.update(group.inputs)
        else:
            read.update([t for node in group.nodes for t in node.inputs if t not in group.inside])
    return [_node_unit(group) if isinstance(group, Node) else _cluster_unit(group, read) for group in listed]


def _node_unit(node: Node) -> Unit:
    primitive = node.primitive
    view = primitive.view and not primitive.may_copy
    kernel = primitive.bind(node.params)
    if primitive.name in DECOMPOSITIONS and flops(node) >= WORTH_THREADS_OF_BLAS:
        kernel = with_threads_of_blas(kernel)
    return Unit((node,), node.inputs, node.outputs, kernel, primitive.several, view)


def _cluster_unit(cluster: Cluster, read: set[Tensor]) -> Unit:
    kernel = blocked(cluster, [node.outputs[0] for node in cluster.nodes if node.outputs[0] in read])
    return Unit(tuple(cluster.nodes), kernel.inputs, kernel.outputs, kernel, several=True, view=False)


def _dying(units: Sequence[Unit], kept: set[Tensor]) -> list[list[Tensor]]:
    """Return what nobody reads after each unit."""
    seen = set(kept)
    dying: list[list[Tensor]] = []
    for unit in reversed(units):
        last = dict.fromkeys([tensor for tensor in (*unit.inputs, *unit.outputs) if tensor not in seen])
        seen.update(last)
        dying.append(list(last))
    dying.reverse()
    return dying


def _held(leaves: Sequence[Tensor], units: Sequence[Unit], dying: Sequence[Sequence[Tensor]]) -> tuple[int, ...]:
    """Return the bytes that are alive while each unit runs: memory that views share dies with the last of them."""
    storage: dict[Tensor, Tensor] = {tensor: tensor for tensor in leaves}
    users: dict[Tensor, int] = dict.fromkeys(leaves, 1)
    alive = sum(map(_bytes, leaves))
    held = []
    for unit, dead in zip(units, dying, strict=True):
        for tensor in unit.outputs:
            storage[tensor] = base = storage.get(unit.inputs[0], unit.inputs[0]) if unit.view else tensor
            users[base] = users.get(base, 0) + 1
            alive += 0 if unit.view else _bytes(tensor)
        held.append(alive)
        for tensor in dead:
            owner = storage.get(tensor)
            if owner is not None:
                users[owner] -= 1
                if not users[owner] and owner in storage:
                    alive -= _bytes(owner)
    return tuple(held)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel * tensor.dtype.itemsize
