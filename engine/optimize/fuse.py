"""Fusion: group row-wise nodes into clusters, so that a block of rows passes through all of them while in cache.

Used by `engine.execute.numpy.lowering`. A node is row-wise along its first axis if it is elementwise, or if that axis
is a batch axis of the node (every primitive accepts batch axes). A sum over the first axis may be part of a cluster:
the sums of the blocks are added. A cluster consists of neighbours in graph order, so nodes move little and tensors with
short lifetimes keep them.

Views of a cluster's inputs run before the cluster, and views of its outputs run after it: block by block, they would be
copies.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.graph.function import Function
from engine.graph.graph import Node, Tensor
from engine.graph.promotion import CONSTANT
from engine.optimize.cost import flops

SMALLEST = 2**15
"""Minimum number of elements for a cluster: smaller tensors are in cache anyway, and bookkeeping has a cost."""

ALONE = 2**22
"""Minimum number of operations for a cluster of one node, which several cores then run."""

CHEAP = 2**10
"""Elements below which a node may be moved past a cluster."""


@dataclass(slots=True)
class Cluster:
    """Nodes that run block by block over `length` rows.

    `inside` has their row-wise results, `totals` their sums over the rows.
    """

    length: int
    nodes: list[Node] = field(default_factory=list)
    inside: set[Tensor] = field(default_factory=set)
    totals: set[Tensor] = field(default_factory=set)

    def takes(self, node: Node) -> bool:
        """Whether the node can join the cluster: it is row-wise, or a sum over the rows of a tensor inside."""
        if len(node.outputs) != 1 or any(tensor in self.totals for tensor in node.inputs):
            return False
        if is_total(node, self.length):
            return node.inputs[0] in self.inside
        if not is_rowwise(node, self.length):
            return False
        return all(sliced(node, tensor, self.length) for tensor in node.inputs if tensor in self.inside)

    def add(self, node: Node) -> None:
        """Add a node."""
        self.nodes.append(node)
        result = node.outputs[0]
        (self.totals if is_total(node, self.length) else self.inside).add(result)

    def without_views_of_results(self) -> tuple[Cluster, list[Node]]:
        """Return the cluster without trailing views, and these views, which run after it."""
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
        """Whether running in blocks pays: several nodes on large tensors, or one node with work for several cores."""
        work = [node for node in self.nodes if not node.primitive.view]
        if len(work) < 2:
            return sum(map(flops, work)) >= ALONE
        return max(tensor.numel for node in work for tensor in (*node.inputs, *node.outputs)) >= SMALLEST


def looks(node: Node) -> bool:
    """Return whether the node is a view without broadcasting."""
    return node.primitive.view and not node.primitive.broadcasts


def is_rowwise(node: Node, length: int) -> bool:
    """Whether row i of the result depends only on row i of the inputs, and on the whole of inputs without rows."""
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
    """Whether the node is a sum over the rows, so that the results of the blocks can be added."""
    if not node.primitive.sums:
        return False
    input = node.inputs[0]
    return bool(input.shape) and input.shape[0] == length and -input.ndim in node.params["dims"]


def sliced(node: Node, tensor: Tensor, length: int) -> bool:
    """Whether an input is read row by row; otherwise every block reads the whole input."""
    rank = node.inputs[0].ndim if is_total(node, length) else node.outputs[0].ndim
    if node.primitive.kind != "elementwise" and not node.primitive.broadcasts:
        return True
    return tensor.ndim == rank and tensor.shape[0] == length


def fused(function: Function) -> list[Node | Cluster]:
    """Return the nodes and clusters of a function, in an order in which they can run."""
    groups: list[Node | Cluster] = []
    open_: Cluster | None = None
    deferred: list[Node] = []
    later: set[Tensor] = set()

    def close() -> None:
        nonlocal open_
        if open_ is not None:
            cluster, views = open_.without_views_of_results()
            groups.extend([cluster, *views] if cluster.worthwhile() else open_.nodes)
        groups.extend(deferred)
        deferred.clear()
        later.clear()
        open_ = None

    for node in function.nodes:
        if open_ is not None:
            waits = any(tensor in later for tensor in node.inputs)
            depends = waits or any(tensor in open_.inside or tensor in open_.totals for tensor in node.inputs)
            if not waits and (depends or not looks(node)) and open_.takes(node):
                open_.add(node)
                continue
            cheap = looks(node) or all(tensor.numel < CHEAP for tensor in node.outputs)
            if cheap and depends:
                deferred.append(node)
                later.update(node.outputs)
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
    """Return the number of rows of the cluster that can start with a node, or None."""
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
