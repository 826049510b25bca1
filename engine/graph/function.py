"""A computation as a value: its inputs, its outputs, and the nodes that lead from the ones to the others.

Passes take a `Function` and return another; neither nodes nor tensors change. Executors read it.
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
    """Tensors that are given, tensors that are wanted, and nodes in an order that they can run in.

    Every tensor that a node reads, and every output, is an input or the result of an earlier node.
    `engine.graph.verify` holds a function to this.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    nodes: tuple[Node, ...]

    @classmethod
    def of(cls, outputs: Sequence[Tensor]) -> Function:
        """Return the function from the leaves that `outputs` depend on to these, in the graph's order."""
        order = ancestors(outputs)
        inputs = [node.outputs[0] for node in order if node.primitive is LEAF]
        return cls(tuple(inputs), tuple(outputs), tuple([node for node in order if node.primitive is not LEAF]))


EMPTY = Function((), (), ())
"""The function of nothing."""


def ancestors(tensors: Iterable[Tensor]) -> list[Node]:
    """Return the nodes that `tensors` depend on, their own included, in the graph's order."""
    seen: set[Node] = set()
    stack = [tensor.node for tensor in tensors]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            for tensor in node.inputs:
                if tensor.node not in seen:
                    stack.append(tensor.node)  # noqa: PERF401  # a list of one or two takes longer
    return sorted(seen, key=_INDEX)
