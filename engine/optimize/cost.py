"""Cost model of steps, computed from shapes: floating-point operations, bytes read and bytes written.

Each primitive declares its operations and its workspace (see `engine.graph.traits`). The optimizer, plans and the NumPy
lowering use it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from engine.graph.graph import Node, Tensor
from engine.graph.traits import size
from engine.graph.types import float64


@dataclass(frozen=True, slots=True)
class Cost:
    """Floating-point operations, bytes of memory read and written, and effort.

    Effort is the time in units of one operation of an in-cache loop: `flops`, or more for a slower kernel.
    """

    flops: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    effort: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.flops + other.flops,
            self.bytes_read + other.bytes_read,
            self.bytes_written + other.bytes_written,
            self.effort + other.effort,
        )

    def __mul__(self, times: int) -> Cost:
        return Cost(self.flops * times, self.bytes_read * times, self.bytes_written * times, self.effort * times)


def step_cost(nodes: Iterable[Node], inputs: Iterable[Tensor], outputs: Iterable[Tensor]) -> Cost:
    """Return the cost of nodes that run as one step: intermediate tensors are not read or written."""
    listed = list(nodes)
    work, time = sum(map(flops, listed)), sum(map(effort, listed))
    if all(node.primitive.view and not node.primitive.may_copy for node in listed):
        return Cost(work, effort=time)
    return Cost(work, sum(map(stored_size, inputs)), sum(map(size, outputs)), time)


def flops(node: Node) -> int:
    """Return the floating-point operations of a node."""
    cost = node.primitive.cost
    assert cost is not None, node.primitive.name
    return cost(node)


def effort(node: Node) -> int:
    """Return the time of a node, in units of one operation of an in-cache loop."""
    declared = node.primitive.effort
    return flops(node) if declared is None else declared(node)


def products(nodes: Iterable[Node]) -> tuple[int, int]:
    """Return the floating-point operations of the nodes that run in BLAS: (float32, float64)."""
    single = double = 0
    for node in nodes:
        if node.primitive.blas:
            dtype = node.outputs[0].dtype
            if dtype is float64:
                double += flops(node)
            elif dtype.is_differentiable:
                single += flops(node)
    return single, double


def stored(tensor: Tensor) -> int:
    """Return the number of elements of a tensor in memory: a broadcast element counts once."""
    node = tensor.node
    return node.inputs[0].numel if node.primitive.broadcasts and node.inputs else tensor.numel


def stored_size(tensor: Tensor) -> int:
    """Return the bytes of a tensor in memory: a broadcast element counts once."""
    return stored(tensor) * tensor.dtype.itemsize


def workspace(node: Node) -> int:
    """Return an upper bound on the bytes that a node's kernel allocates while it runs, results excluded."""
    memory = node.primitive.memory
    assert memory is not None, node.primitive.name
    return memory(node)
