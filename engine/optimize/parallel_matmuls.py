"""Pair independent matrix products, so that two cores compute one product each. Used by the NumPy lowering.

Dividing one product between two cores takes more than half of its time, because both cores pack operands for BLAS. The
gradients of a layer's input and weight are two products of equal cost that are ready at the same time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine.graph.graph import Node, Tensor
from engine.graph.threads import CORES
from engine.graph.types import float32, float64
from engine.ops.linalg.matmul import PRODUCT
from engine.optimize.cost import flops
from engine.optimize.fuse import Cluster, looks

LEAST = 2**23
"""Minimum number of operations of a product to run on another core."""

AHEAD = 8
"""Number of groups after a product that are searched for a partner: results computed early stay in memory longer."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two products that run in parallel."""

    nodes: tuple[Node, Node]


Group = Node | Cluster | Pair


def paired(groups: Sequence[Node | Cluster]) -> list[Group]:
    """Return the groups in topological order, with independent matrix products joined in pairs."""
    if CORES == 1:
        return list(groups)
    made: list[Group] = []
    moved: set[int] = set()
    for place, group in enumerate(groups):
        if place in moved:
            continue
        ahead = _partner(groups, place, moved) if isinstance(group, Node) and _is_large_product(group) else None
        if ahead is None:
            made.append(group)
            continue
        *views, other = ahead
        moved.update(ahead)
        made.extend([groups[view] for view in views])
        made.append(_pair(group, groups[other]))
    return made


def _pair(one: Node | Cluster, other: Node | Cluster) -> Pair:
    assert isinstance(one, Node)
    assert isinstance(other, Node)
    return Pair((one, other))


def _is_large_product(node: Node) -> bool:
    plain = node.primitive is PRODUCT and all(tensor.ndim == 2 for tensor in node.inputs)
    return plain and node.outputs[0].dtype in (float32, float64) and flops(node) >= LEAST


def _partner(groups: Sequence[Node | Cluster], place: int, moved: set[int]) -> list[int] | None:
    """Return the indices of a partner that can run with the product at `place` and, first, of the views before it."""
    first = groups[place]
    assert isinstance(first, Node)
    later = set(first.outputs)
    views: list[int] = []
    for ahead in range(place + 1, min(place + 1 + AHEAD, len(groups))):
        group = groups[ahead]
        if ahead in moved:
            continue
        ready = isinstance(group, Node) and not any(tensor in later for tensor in group.inputs)
        if ready and isinstance(group, Node):
            if _is_large_product(group) and 0.8 <= flops(group) / flops(first) <= 1.25:
                return [*views, ahead]
            if looks(group) and not group.primitive.may_copy:
                views.append(ahead)
                continue
        later.update(_outputs(group))
    return None


def _outputs(group: Node | Cluster) -> Iterator[Tensor]:
    for node in [group] if isinstance(group, Node) else group.nodes:
        yield from node.outputs
