"""`Function`: an immutable computation with inputs, outputs and nodes.

Passes take a `Function` and return a new one. Nodes and tensors do not change. Executors read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from engine.graph.graph import Node, Tensor
from engine.graph.promotion import LEAF

_INDEX = attrgetter("index")


@dataclass(frozen=True, slots=True)
class Function:
    """Input tensors, output tensors, and nodes in a topological order.

    Every tensor that a node reads, and every output, is an input or the result of an earlier node.
    `engine.graph.verify` checks this.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    nodes: tuple[Node, ...]

    @classmethod
    def of(cls, outputs: Sequence[Tensor]) -> Function:
        """Return the function from the leaves that `outputs` depend on to `outputs`, in the order of the graph."""
        order = ancestors(outputs)
        inputs = [node.outputs[0] for node in order if node.primitive is LEAF]
        return cls(tuple(inputs), tuple(outputs), tuple([node for node in order if node.primitive is not LEAF]))


EMPTY = Function((), (), ())
"""The function without inputs, outputs and nodes."""


def ancestors(tensors: Iterable[Tensor]) -> list[Node]:
    """Return the nodes that `tensors` depend on, including their own nodes, in the order of the graph."""
    seen: set[Node] = set()
    stack = [tensor.node for tensor in tensors]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            for tensor in node.inputs:
                if tensor.node not in seen:
                    stack.append(tensor.node)  # noqa: PERF401  # slower with a list of one or two items
    return sorted(seen, key=_INDEX)
