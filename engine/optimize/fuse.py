"""Clusters: runs of nodes that work row by row, so that a block of rows can go through all of them while in cache.

A node works row by row along its first axis if it is elementwise, or if that axis is a leading one for it (every
primitive takes leading axes). Sums over the first axis may end in a cluster: blocks add up. A cluster is a run of
neighbours in the graph's order, so that nothing is moved far from where it was: what dies early still does.

Views of what a cluster reads are made before it, and views of what it gives behind it: block by block they would be
copies.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.graph.function import Function
from engine.graph.graph import Node, Tensor
from engine.graph.promotion import CONSTANT
from engine.optimize.cost import flops

SMALLEST = 2**15
"""Elements below which a cluster is not worth its bookkeeping: they are in cache anyway."""

ALONE = 2**22
"""Operations from which on a single node is cut into blocks: several cores run them."""

CHEAP = 2**10
"""Elements below which a node may be moved past a cluster."""


@dataclass(slots=True)
class Cluster:
    """Nodes that run block by block over `length` rows. `inside` are their results, `totals` those that blocks add."""

    length: int
    nodes: list[Node] = field(default_factory=list)
    inside: set[Tensor] = field(default_factory=set)
    totals: set[Tensor] = field(default_factory=set)

    def takes(self, node: Node) -> bool:
        """Whether the node works row by row on what is inside and outside."""
        if len(node.outputs) != 1 or any(tensor in self.totals for tensor in node.inputs):
            return False
        if is_total(node, self.length):
            return node.inputs[0] in self.inside
        if not is_rowwise(node, self.length):
            return False
        return all(sliced(node, tensor, self.length) for tensor in node.inputs if tensor in self.inside)

    def add(self, node: Node) -> None:
        """Put a node in."""
        self.nodes.append(node)
        result = node.outputs[0]
        (self.totals if is_total(node, self.length) else self.inside).add(result)

    def without_views_of_results(self) -> tuple[Cluster, list[Node]]:
        """Return the cluster of the nodes that others inside need, or that compute; and the views behind those."""
        read: set[Tensor] = set()
        views: list[Node] = []
        for node in reversed(self.nodes):
            if looks(node) and node.outputs[0] not in read:
                views.append(node)
            else:
                read.update(node.inputs)
        inside = self.inside.difference([node.outputs[0] for node in views])
        nodes = [node for node in self.nodes if node.outputs[0] in inside or node.outputs[0] in self.totals]
        return Cluster(self.length, nodes, inside, self.totals), views[::-1]

    def worthwhile(self) -> bool:
        """Whether there is enough in it to run by blocks: several nodes, or one that is worth several cores."""
        work = [node for node in self.nodes if not node.primitive.view]
        if len(work) < 2:
            return sum(map(flops, work)) >= ALONE
        return max(tensor.numel for node in work for tensor in (*node.inputs, *node.outputs)) >= SMALLEST


def looks(node: Node) -> bool:
    """Whether the node's result is the memory of its input, each element of it once."""
    return node.primitive.view and not node.primitive.broadcasts


def is_rowwise(node: Node, length: int) -> bool:
    """Whether row i of the result is made of row i of the inputs (or of all of those without such rows)."""
    result = node.outputs[0]
    if not result.shape or result.shape[0] != length or length < 2 or node.primitive.several:
        return False
    if node.primitive.kind == "elementwise":
        return True
    own = node.primitive.core(node.params)
    if own is None:
        return False
    if node.primitive.broadcasts:
        return node.inputs[0].ndim == result.ndim
    return all(tensor.ndim > own and tensor.shape[0] == length for tensor in node.inputs)


def is_total(node: Node, length: int) -> bool:
    """Whether the node is a sum over the rows: what blocks give adds up."""
    if not node.primitive.sums:
        return False
    input = node.inputs[0]
    return bool(input.shape) and input.shape[0] == length and -input.ndim in node.params["dims"]


def sliced(node: Node, tensor: Tensor, length: int) -> bool:
    """Whether an input is read row by row; otherwise every block reads the whole of it."""
    rank = node.inputs[0].ndim if is_total(node, length) else node.outputs[0].ndim
    if node.primitive.kind != "elementwise" and not node.primitive.broadcasts:
        return True
    return tensor.ndim == rank and tensor.shape[0] == length


def fused(function: Function) -> list[Node | Cluster]:
    """Return the nodes of a function, in an order that they can run in, with clusters in place of their members."""
    groups: list[Node | Cluster] = []
    open_: Cluster | None = None
    deferred: list[Node] = []
    behind: set[Tensor] = set()

    def close() -> None:
        nonlocal open_
        if open_ is not None:
            cluster, views = open_.without_views_of_results()
            groups.extend([cluster, *views] if cluster.worthwhile() else open_.nodes)
        groups.extend(deferred)
        deferred.clear()
        behind.clear()
        open_ = None

    for node in function.nodes:
        if open_ is not None:
            waits = any(tensor in behind for tensor in node.inputs)
            depends = waits or any(tensor in open_.inside or tensor in open_.totals for tensor in node.inputs)
            if not waits and (depends or not looks(node)) and open_.takes(node):
                open_.add(node)
                continue
            cheap = looks(node) or all(tensor.numel < CHEAP for tensor in node.outputs)
            if cheap and depends:
                deferred.append(node)
                behind.update(node.outputs)
                continue
            if cheap:
                groups.append(node)
                continue
            close()
        length = _length(node)
        if length is None:
            groups.append(node)
        else:
            open_ = Cluster(length)
            open_.add(node)
    close()
    return groups


def _length(node: Node) -> int | None:
    """Return the rows of the cluster that a node can begin, or None."""
    if (
        node.primitive.several
        or looks(node)
        or not node.inputs
        or all(t.node.primitive is CONSTANT for t in node.inputs)
    ):
        return None
    result = node.outputs[0]
    if not result.shape or result.numel < SMALLEST:
        return None
    length = result.shape[0]
    return length if is_rowwise(node, length) else None
