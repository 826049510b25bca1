"""`Rewrite`: makes a new function from a function. Nodes are kept, removed, replaced or recomputed.

Nodes never change. If an input of a node is replaced, the new function has a copy of the node that reads the new input.
The optimiser's passes use `Rewrite` to make nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.graph.function import Function
from engine.graph.graph import Node, Tensor, Traits
from engine.graph.types import numel


class Rewrite:
    """A rewrite in progress: the nodes of the new function so far, and the replacements of old tensors.

    A pass visits the nodes of the old function in order and calls `keep`, or `add` and `replace`, for each node.
    """

    def __init__(self, function: Function) -> None:
        self._old = function
        self._nodes: list[Node] = []
        self._became: dict[Tensor, Tensor] = {}

    def of(self, tensor: Tensor) -> Tensor:
        """Return the replacement of a tensor of the old function, or the tensor if it is not replaced."""
        return self._became.get(tensor, tensor)

    def keep(self, node: Node) -> Node:
        """Add a node with the replacements of its inputs. The node itself is added if no input is replaced."""
        if self._became.keys().isdisjoint(node.inputs):
            self._nodes.append(node)
            return node
        return self._copy(node, node.index)

    def recompute(self, node: Node, reader: Node) -> None:
        """Add a copy of a node directly before `reader`. From then on its results replace the results of the node."""
        self._copy(node, reader.index)

    def add(
        self, primitive: Traits, inputs: Sequence[Tensor], params: Mapping[str, Any], *, at: Node
    ) -> tuple[Tensor, ...]:
        """Add a node on tensors of the new function and return its results. The type rule gives their types.

        The new node has the index and the origin of the node `at`.
        """
        made = Node(at.index, primitive, tuple(inputs), dict(params), at.origin)
        requires = any(tensor.requires_grad for tensor in inputs)
        made.outputs = tuple(
            [
                Tensor(made, position, dtype, shape, numel(shape), requires and dtype.is_differentiable)
                for position, (dtype, shape) in enumerate(primitive.types(made.inputs, made.params))
            ]
        )
        self._nodes.append(made)
        return made.outputs

    def replace(self, old: Tensor, new: Tensor) -> None:
        """Replace a tensor of the old function by a tensor of the new function."""
        self._became[old] = new

    def function(self) -> Function:
        """Return the new function. It has the same inputs and no nodes that no output depends on."""
        outputs = tuple(map(self.of, self._old.outputs))
        read = set(outputs)
        kept: list[Node] = []
        for node in reversed(self._nodes):
            if not read.isdisjoint(node.outputs):
                kept.append(node)
                read.update(node.inputs)
        return Function(self._old.inputs, outputs, tuple(reversed(kept)))

    def _copy(self, node: Node, index: int) -> Node:
        became = self._became
        inputs = tuple([became.get(tensor, tensor) for tensor in node.inputs])
        copy = Node(index, node.primitive, inputs, node.params, node.origin)
        for old in node.outputs:
            new = Tensor(copy, old.position, old.dtype, old.shape, old.numel, old.requires_grad)
            copy.outputs += (new,)
            became[old] = new
        self._nodes.append(copy)
        return copy
