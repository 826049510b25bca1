"""Scratch memory of a cluster's block: which values share an array, and the lifetime of each value.

`engine.execute.numpy.tiles.build` uses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.graph.graph import Node, Tensor
from engine.graph.kernel import writes_into
from engine.graph.traits import size
from engine.graph.types import numel
from engine.optimize.cost import workspace
from engine.optimize.fuse import Cluster

Kind = tuple[tuple[int, ...], Any]
"""The shape of a row, and the NumPy dtype."""


class Allocation:
    """Assigns scratch arrays to results: an array is reused after the last reader of its value.

    An elementwise kernel may overwrite an operand that it is the last to read. A view extends the lifetime of its base.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.kinds: list[Kind] = []
        self._free: dict[Kind, list[int]] = {}
        self._held: dict[Tensor, int] = {}
        self._base: dict[Tensor, Tensor] = {}
        self._last: dict[Tensor, Node] = {}
        self._reader: dict[Tensor, Node] = {}
        self._ends: dict[Node, list[Tensor]] = {}
        for node in cluster.nodes:
            result = node.outputs[0]
            self._base[result] = self._root(node.inputs[0]) if node.primitive.view else result
            self._last[self._root(result)] = node
            for tensor in node.inputs:
                self._last[self._root(tensor)] = self._reader[tensor] = node
        for tensor, node in self._last.items():
            if tensor in cluster.inside and self.owns(tensor.node):
                self._ends.setdefault(node, []).append(tensor)

    def _root(self, tensor: Tensor) -> Tensor:
        return self._base.get(tensor, tensor)

    def last(self, tensor: Tensor) -> Node:
        """Return the last node that reads a tensor or a view of it."""
        return self._last[tensor]

    def last_reader(self, tensor: Tensor) -> Node | None:
        """Return the last node that reads a tensor itself."""
        return self._reader.get(tensor)

    def owns(self, node: Node) -> bool:
        """Whether a node's kernel allocates its result."""
        return not (node.primitive.view or writes_into(node))

    def dying(self, node: Node) -> list[Tensor]:
        """Return the results allocated by kernels that neither a node nor a view reads after this node."""
        return self._ends.get(node, [])

    def take(self, node: Node, *, wanted: bool) -> int | None:
        """Release the arrays that a node is the last to read. Return the scratch array of its result, if `wanted`."""
        self._release(node)
        if not wanted:
            return None
        result = node.outputs[0]
        kind = (result.shape[1:], result.dtype.numpy)
        free = self._free.setdefault(kind, [])
        if not free:
            free.append(len(self.kinds))
            self.kinds.append(kind)
        self._held[result] = number = free.pop()
        return number

    def _release(self, node: Node) -> None:
        for tensor in dict.fromkeys(map(self._root, node.inputs)):
            if self._last.get(tensor) is node and tensor in self._held:
                number = self._held.pop(tensor)
                self._free.setdefault(self.kinds[number], []).append(number)


def written_over(
    cluster: Cluster, allocation: Allocation, inputs: Sequence[tuple[Tensor, bool]], needed: Sequence[Tensor]
) -> tuple[tuple[int, int], ...]:
    """Return pairs of a result index and an input index of equal shape and dtype, where the result may overwrite it."""
    order = {node: number for number, node in enumerate(cluster.nodes)}
    whole = {tensor for tensor, rowwise in inputs if not rowwise}
    sources = {place: tensor for place, (tensor, rowwise) in enumerate(inputs) if rowwise and tensor not in whole}
    pairs = []
    for place, result in enumerate(needed):
        if result in cluster.totals:
            continue
        for source, tensor in sources.items():
            same = tensor.shape == result.shape and tensor.dtype is result.dtype
            if same and order[allocation.last(tensor)] <= order[result.node]:
                pairs.append((place, source))
                del sources[source]
                break
    return tuple(pairs)


def held(cluster: Cluster, allocation: Allocation) -> int:
    """Return an upper bound on the bytes that scratch arrays and kernels would use for all rows at once."""
    alive = sum([cluster.length * numel(shape) * int(np.dtype(dtype).itemsize) for shape, dtype in allocation.kinds])
    most = alive
    for node in cluster.nodes:
        result = node.outputs[0]
        own = allocation.owns(node) and result not in cluster.totals
        alive += size(result) if own else 0
        most = max(most, alive + workspace(node))
        alive -= sum(size(tensor) for tensor in allocation.dying(node))
    return most


def totals(cluster: Cluster) -> int:
    """Return the bytes of the sums over rows, twice: a block's sums are added to the previous sums."""
    return 2 * sum(map(size, cluster.totals))
