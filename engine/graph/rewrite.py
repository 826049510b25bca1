"""From a function to another one: nodes are kept, left out, replaced, or computed a second time.

Nodes never change. Where an input of a node became another tensor, the node is kept as a copy that reads that tensor.
Passes over functions are written in terms of `Rewrite`, and make no nodes by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.graph.function import Function
from engine.graph.graph import Node, Tensor, Traits
from engine.graph.types import numel


class Rewrite:
    """A function that is being rewritten: the nodes of the new one so far, and the tensors that stand for old ones.

    A pass visits the nodes of the old function in order, and calls `keep` for each, or `add` and `replace`.
    """

    def __init__(self, function: Function) -> None:
        self._old = function
        self._nodes: list[Node] = []
        self._became: dict[Tensor, Tensor] = {}

    def of(self, tensor: Tensor) -> Tensor:
        """Return the tensor of the new function that stands for a tensor of the old one: itself unless replaced."""
        return self._became.get(tensor, tensor)

    def keep(self, node: Node) -> Node:
        """Add a node on what its inputs became: the node itself where these are its inputs."""
        if self._became.keys().isdisjoint(node.inputs):
            self._nodes.append(node)
            return node
        return self._copy(node, node.index)

    def recompute(self, node: Node, reader: Node) -> None:
        """Add a copy of a node right before a `reader`. From here on its results stand for the node's."""
        self._copy(node, reader.index)

    def add(
        self, primitive: Traits, inputs: Sequence[Tensor], params: Mapping[str, Any], *, at: Node
    ) -> tuple[Tensor, ...]:
        """Add a node on tensors of the new function, and return its results, of the types that its rule gives.

        It has the place in the graph and the user's op of the node `at`.
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
        """Let a tensor of the new function stand for one of the old function."""
        self._became[old] = new

    def function(self) -> Function:
        """Return the new function: of the same inputs, without the nodes that no output depends on."""
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
