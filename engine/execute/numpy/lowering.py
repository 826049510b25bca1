"""Lower a function to a plan for NumPy: the order of the steps, their slots, and the lifetimes of values.

Lowering rewrites the function for NumPy, folds constants, and groups nodes into steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from engine.execute.numpy.kernels import kernel_of, lowered
from engine.execute.numpy.products import two_products
from engine.execute.numpy.tiles import Blocked, blocked
from engine.graph.function import Function
from engine.graph.graph import Node, Tensor
from engine.graph.kernel import Kernel
from engine.graph.promotion import CONSTANT
from engine.graph.threads import with_threads_of_blas
from engine.graph.traits import size
from engine.optimize.batch_last import with_batch_last
from engine.optimize.concat_pads import side_by_side
from engine.optimize.cost import flops, products, workspace
from engine.optimize.fuse import SMALLEST, Cluster, fused
from engine.optimize.parallel_matmuls import Group, Pair, paired
from engine.plan.plan import Plan
from engine.plan.steps import Unit, code_of, cost_of, ends_of, held_by, origins_of

FOLDED = 64
"""Maximum number of elements of a folded constant."""

WORTH_THREADS_OF_BLAS = 2**27
"""Minimum number of operations for a matrix decomposition to use more threads: 1 ms of one core."""

REWRITES: tuple[Callable[[Function], Function], ...] = (with_batch_last, side_by_side)
"""Rewrites that reduce a function's cost on NumPy, in the order in which they run."""


def plan(function: Function, *, fuse: bool = True, boundary: int = 0) -> Plan:
    """Return the plan of a function. Without `fuse`, each node is a separate step.

    Derivatives begin at node index `boundary`.
    """
    given = function
    for rewritten in REWRITES:
        function = rewritten(function)
    constants = _constants(function)
    running = _without(function, constants)
    large = max([node.outputs[0].numel for node in running.nodes], default=0) >= SMALLEST
    units = _units(running, paired(fused(running))) if fuse and large else list(map(_node_unit, running.nodes))
    ends = ends_of(units, {*function.outputs, *constants})
    held = held_by(units, ends, function.inputs)
    slots = {tensor: slot for slot, tensor in enumerate(running.inputs)}
    code = code_of(units, slots, ends)
    return Plan(
        code,
        tuple([(tensor.node.params["source"], slots[tensor]) for tensor in function.inputs]),
        tuple([slots[tensor] for tensor in function.outputs]),
        tuple([(tensor.shape, tensor.dtype) for tensor in function.outputs]),
        (*_kept(constants, units), *[None] * (code.slots - len(constants))),
        origins_of(units),
        max([*held, sum(map(size, function.inputs))]),
        cost_of(units),
        products(running.nodes),
        boundary,
        given,
        tuple(units),
        held,
    )


def _without(function: Function, known: Mapping[Tensor, Any]) -> Function:
    """Return the function with the tensors of known value as additional inputs, before its own inputs."""
    nodes = [node for node in function.nodes if node.outputs[0] not in known]
    return Function((*known, *function.inputs), function.outputs, tuple(nodes))


def _constants(function: Function) -> dict[Tensor, Any]:
    """Return the constants, and the values of small tensors that depend only on constants."""
    known: dict[Tensor, Any] = {}
    with np.errstate(all="ignore"):
        for node in function.nodes:
            primitive, inputs = node.primitive, node.inputs
            if primitive is CONSTANT or (
                inputs
                and inputs[0] in known
                and not primitive.several
                and node.outputs[0].numel <= FOLDED
                and all(map(known.__contains__, inputs))
            ):
                values = [known[tensor] for tensor in inputs]
                known[node.outputs[0]] = kernel_of(primitive)(*values, **node.params)
    return known


def _kept(constants: Mapping[Tensor, Any], units: Sequence[Unit]) -> list[Any]:
    """Return the constants in the type that kernels read fastest: arrays with arrays, NumPy scalars with scalars.

    All runs share them, so arrays are read-only.
    """
    beside = {tensor for unit in units if unit.outputs[0].shape for tensor in unit.inputs if tensor in constants}
    kept = [np.asarray(value) if tensor in beside else value for tensor, value in constants.items()]
    for value in kept:
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    return kept


def _units(function: Function, groups: Sequence[Group]) -> list[Unit]:
    """Return the units of a function's groups; a cluster returns the tensors that are read outside it."""
    read: set[Tensor] = set(function.outputs)
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
    if primitive.lapack and flops(node) >= WORTH_THREADS_OF_BLAS:
        kernel = with_threads_of_blas(kernel)
    return Unit(kernel, extra, params, node.inputs, node.outputs, primitive.several, view, workspace(node), (node,))


def _pair_unit(pair: Pair) -> Unit:
    one, other = pair.nodes
    space = workspace(one) + workspace(other)
    outputs = (*one.outputs, *other.outputs)
    return Unit(two_products, (), {}, (*one.inputs, *other.inputs), outputs, True, False, space, pair.nodes)


def _cluster_unit(cluster: Cluster, read: set[Tensor]) -> Unit:
    needed = [node.outputs[0] for node in cluster.nodes if node.outputs[0] in read]
    kernel = blocked(cluster, needed, kernel_of)
    if len(cluster.nodes) == 1:
        node = cluster.nodes[0]
        return Unit(_alone(kernel, node), (), {}, node.inputs, node.outputs, False, False, kernel.workspace, (node,))
    nodes = tuple(cluster.nodes)
    return Unit(kernel, (), {}, kernel.inputs, kernel.outputs, True, False, kernel.workspace, nodes)


def _alone(kernel: Blocked, node: Node) -> Kernel:
    """Return the kernel of a one-node cluster with the node's signature: it takes the inputs and returns one result."""
    positions = [node.inputs.index(tensor) for tensor in kernel.inputs]
    return lambda *arrays: kernel(*[arrays[position] for position in positions])[0]
