"""The order in which nodes run, so that values die early.

The graph's own order is right for a forward pass and for a backward pass behind it. Tangents are built last, but are
best computed right behind the values that they belong to: otherwise every value would be kept until all are known.
"""

from __future__ import annotations

from engine.graph.function import Function
from engine.graph.graph import Node


def interleaved(function: Function, boundary: int, turn: int) -> Function:
    """Return a function, whose nodes are in the graph's order, with tangents right behind the values that they need.

    Gradients begin with the node of index `boundary`, tangents with that of index `turn`. What a gradient needs besides
    gradients (a cosine, for a sine) runs as early as the first tangent that needs it too.
    """
    loss = max([node.index for node in function.nodes if node.index < boundary], default=-1)
    given = [tensor.node for tensor in function.inputs]
    earliest = dict.fromkeys(given, -1)
    place = dict.fromkeys(given, -1)

    def ready(node: Node) -> int:
        """Return when a tangent can read it: a gradient when it runs, but what depends on few values with those."""
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
