"""Schedule nodes so that tensors have short lifetimes. Called when a graph with tangents is planned.

The graph's own order suits a forward pass followed by a backward pass. Tangents are built last but should run directly
after their values: otherwise every value would stay in memory until all are computed.
"""

from __future__ import annotations

from engine.graph.function import Function
from engine.graph.graph import Node


def interleaved(function: Function, boundary: int, turn: int) -> Function:
    """Return the function with each tangent scheduled directly after the values that it needs.

    The nodes of `function` must be in graph order. Gradients begin at node index `boundary`, tangents at index `turn`.
    An extra input of a gradient (the cosine, for a sine) runs as early as the first tangent that also needs it.
    """
    loss = max([node.index for node in function.nodes if node.index < boundary], default=-1)
    given = [tensor.node for tensor in function.inputs]
    earliest = dict.fromkeys(given, -1)
    place = dict.fromkeys(given, -1)

    def ready(node: Node) -> int:
        """Return the earliest time at which a tangent can read the node's result."""
        return earliest[node] if node.index < turn and earliest[node] < loss else place[node]

    for node in function.nodes:
        before = [tensor.node for tensor in node.inputs]
        fixed = bool(before) and node.index < boundary
        earliest[node] = node.index if fixed else max([earliest[other] for other in before], default=-1)
        late = not before or node.index >= turn
        place[node] = max(map(ready, before), default=-1) if late else node.index
    for node in reversed(function.nodes):
        for tensor in node.inputs:
            if tensor.node.index >= boundary:
                place[tensor.node] = min(place[tensor.node], place[node])
    nodes = sorted(function.nodes, key=lambda node: (place[node], node.index))
    return Function(function.inputs, function.outputs, tuple(nodes))
