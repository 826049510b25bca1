"""From wanted tensors to a flat list of steps: what runs in which order, from and into which slots, what dies when.

A plan holds no values but constants, so that it can be kept and run many times, by several threads at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from engine.autodiff.reverse import ancestors
from engine.blocked import Blocked, blocked
from engine.cores import with_threads_of_blas
from engine.cost import DECOMPOSITIONS, flops, workspace
from engine.graph import Node, Tensor
from engine.lowering import Kernel, lowered
from engine.operands import CONSTANT, LEAF
from engine.ops.matmul import two_products
from engine.optimize.fuse import SMALLEST, Cluster, fused
from engine.optimize.identities import simplified
from engine.optimize.order import interleaved
from engine.optimize.pairs import Group, Pair, paired

Source = tuple[str, str]
"""What a leaf is read from: the request's member and the name in it, such as ("tensors", "w")."""


FOLDED = 64
"""Elements up to which what constants determine is worked out with the plan and kept in it."""

WORTH_THREADS_OF_BLAS = 2**27
"""Operations from which on a decomposition of matrices gets more threads: a millisecond of one core's."""


class Step(NamedTuple):
    """One kernel with the slots it reads and writes, and those that nobody needs after it.

    It is called as `kernel(*arrays, *extra, **params)`. `results` is one slot, or a tuple of them for a kernel of
    several results. `nodes` are what it computes, one or a cluster's: errors and checks name their origin.
    """

    kernel: Kernel
    extra: tuple[Any, ...]
    params: Mapping[str, Any]
    args: tuple[int, ...]
    results: int | tuple[int, ...]
    dead: tuple[int, ...]
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps, the slots of inputs and outputs, and the memory as it is at the start: constants, else None.

    `held` bounds the bytes that are alive while each step runs, inputs and what kernels need for themselves included;
    views are counted as copies where they may be. `boundary` is the index of the first node of a derivative.
    """

    steps: tuple[Step, ...]
    inputs: tuple[tuple[Source, int], ...]
    outputs: tuple[int, ...]
    memory: tuple[Any, ...]
    held: tuple[int, ...]
    peak_bytes: int
    boundary: int = 0


class Unit(NamedTuple):
    """What becomes a step: a node or a cluster, with the tensors that it reads and gives.

    `workspace` bounds the bytes that its kernel takes besides its results.
    """

    kernel: Kernel
    extra: tuple[Any, ...]
    params: Mapping[str, Any]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    several: bool
    view: bool
    workspace: int
    nodes: tuple[Node, ...]


def plan(
    wanted: Sequence[Tensor], *, fuse: bool = True, simplify: bool = True, boundary: int = 0, turn: int | None = None
) -> Plan:
    """Return the plan that computes `wanted`, in their order. Without `fuse` each node is a step of its own.

    Without `simplify` equal nodes stay apart: copies that are computed again instead of kept.
    Derivatives begin with the node of index `boundary`, tangents with that of index `turn`.
    """
    order = ancestors(wanted)
    if simplify:
        order, wanted = simplified(order, wanted)
    if turn is not None:
        order = interleaved(order, boundary, turn)
    constants = _constants(order)
    leaves = [node.outputs[0] for node in order if node.primitive is LEAF]
    running = [node for node in order if node.primitive is not LEAF and node.outputs[0] not in constants]
    large = max([node.outputs[0].numel for node in running], default=0) >= SMALLEST
    units = _units(paired(fused(running)), wanted) if fuse and large else list(map(_node_unit, running))
    slots: dict[Tensor, int] = {}
    for tensor in chain(constants, leaves, [tensor for unit in units for tensor in unit.outputs]):
        slots[tensor] = len(slots)
    outputs = tuple([slots[tensor] for tensor in wanted])
    steps = _steps(units, slots, {*outputs, *range(len(constants))})
    sizes = [0 if tensor in constants else tensor.numel * tensor.dtype.itemsize for tensor in slots]
    first = [slots[tensor] for tensor in leaves]
    held = _held(first, steps, units, sizes)
    return Plan(
        steps,
        tuple([(tensor.node.params["source"], slot) for tensor, slot in zip(leaves, first, strict=True)]),
        outputs,
        (*_kept(constants, units), *[None] * (len(slots) - len(constants))),
        held,
        max([*held, sum([sizes[slot] for slot in first])]),
        boundary,
    )


def _constants(order: Sequence[Node]) -> dict[Tensor, Any]:
    """Return the values of what small constants alone determine."""
    known: dict[Tensor, Any] = {}
    with np.errstate(all="ignore"):
        for node in order:
            primitive, inputs = node.primitive, node.inputs
            if primitive is CONSTANT or (
                inputs
                and inputs[0] in known
                and not primitive.several
                and node.outputs[0].numel <= FOLDED
                and all(map(known.__contains__, inputs))
            ):
                known[node.outputs[0]] = primitive.bind(node.params)(*[known[tensor] for tensor in inputs])
    return known


def _kept(constants: Mapping[Tensor, Any], units: Sequence[Unit]) -> list[Any]:
    """Return constants as kernels read them soonest: arrays beside arrays, NumPy's scalars beside scalars.

    They are read by every run, and so not to be written.
    """
    beside = {tensor for unit in units if unit.outputs[0].shape for tensor in unit.inputs if tensor in constants}
    kept = [np.asarray(value) if tensor in beside else value for tensor, value in constants.items()]
    for value in kept:
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    return kept


def _units(groups: Sequence[Group], wanted: Sequence[Tensor]) -> list[Unit]:
    """Return the units of groups; a cluster gives what is read outside of it."""
    read: set[Tensor] = set(wanted)
    for group in groups:
        if isinstance(group, Node):
            read.update(group.inputs)
        elif isinstance(group, Pair):
            read.update([tensor for node in group.nodes for tensor in node.inputs])
        else:
            read.update([t for node in group.nodes for t in node.inputs if t not in group.inside])
    return [_unit(group, read) for group in groups]


def _unit(group: Group, read: set[Tensor]) -> Unit:
    if isinstance(group, Node):
        return _node_unit(group)
    return _pair_unit(group) if isinstance(group, Pair) else _cluster_unit(group, read)


def _node_unit(node: Node) -> Unit:
    primitive = node.primitive
    view = primitive.view and not primitive.may_copy
    kernel, extra, params = lowered(node)
    if primitive.name in DECOMPOSITIONS and flops(node) >= WORTH_THREADS_OF_BLAS:
        kernel = with_threads_of_blas(kernel)
    return Unit(kernel, extra, params, node.inputs, node.outputs, primitive.several, view, workspace(node), (node,))


def _pair_unit(pair: Pair) -> Unit:
    one, other = pair.nodes
    space = workspace(one) + workspace(other)
    outputs = (*one.outputs, *other.outputs)
    return Unit(two_products, (), {}, (*one.inputs, *other.inputs), outputs, True, False, space, pair.nodes)


def _cluster_unit(cluster: Cluster, read: set[Tensor]) -> Unit:
    kernel = blocked(cluster, [node.outputs[0] for node in cluster.nodes if node.outputs[0] in read])
    if len(cluster.nodes) == 1:
        node = cluster.nodes[0]
        return Unit(_alone(kernel, node), (), {}, node.inputs, node.outputs, False, False, kernel.workspace, (node,))
    nodes = tuple(cluster.nodes)
    return Unit(kernel, (), {}, kernel.inputs, kernel.outputs, True, False, kernel.workspace, nodes)


def _alone(kernel: Blocked, node: Node) -> Kernel:
    """Return the kernel of a cluster of one node as that node's: called with its inputs, returns its result."""
    places = [node.inputs.index(tensor) for tensor in kernel.inputs]
    return lambda *arrays: kernel(*[arrays[place] for place in places])[0]


def _steps(units: Sequence[Unit], slots: Mapping[Tensor, int], kept: set[int]) -> tuple[Step, ...]:
    """Return the steps; each names what nobody reads after it, unless that is `kept`."""
    seen = set(kept)
    steps: list[Step] = []
    for kernel, extra, params, inputs, outputs, several, _, _, nodes in reversed(units):
        args = tuple([slots[tensor] for tensor in inputs])
        made = tuple([slots[tensor] for tensor in outputs])
        dead: tuple[int, ...] = tuple([slot for slot in (*args, *made) if slot not in seen])
        if dead:
            seen.update(dead)
            dead = tuple(dict.fromkeys(dead))
        steps.append(Step(kernel, extra, params, args, made if several else made[0], dead, nodes))
    steps.reverse()
    return tuple(steps)


def _held(first: Sequence[int], steps: Sequence[Step], units: Sequence[Unit], sizes: Sequence[int]) -> tuple[int, ...]:
    """Return the bytes that are alive while each step runs: memory that views share dies with the last of them.

    The slots in `first` hold inputs: whoever runs the plan holds them until it ends.
    """
    owner = list(range(len(sizes)))
    users = [1] * len(sizes)
    for slot in first:
        users[slot] += 1
    alive = sum([sizes[slot] for slot in first])
    held = []
    for step, unit in zip(steps, units, strict=True):
        results = step.results
        for slot in results if isinstance(results, tuple) else (results,):
            if unit.view:
                owner[slot] = base = owner[step.args[0]]
                users[base] += 1
            else:
                alive += sizes[slot]
        held.append(alive + unit.workspace)
        for slot in step.dead:
            base = owner[slot]
            users[base] -= 1
            if not users[base]:
                alive -= sizes[base]
    return tuple(held)
