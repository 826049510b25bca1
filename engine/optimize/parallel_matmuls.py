"""Products of matrices that do not need one another, as two cores compute them: each one whole.

A product that two cores share is slower than half of it: both arrange operands in memory for BLAS, and neither is
small. The gradients of a layer's input and of its weight are two products of one size, ready at the same moment.
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
"""Operations of a product from which on handing it to another core is a gain."""

AHEAD = 8
"""Groups behind a product in which another is looked for: results that are made early are kept longer."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two products that run beside each other."""

    nodes: tuple[Node, Node]


Group = Node | Cluster | Pair


def paired(groups: Sequence[Node | Cluster]) -> list[Group]:
    """Return the groups, in an order that they can run in, with pairs in place of their members."""
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
    """Return the places of views, and of a product of these, that can run as early as the product at `place`."""
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
