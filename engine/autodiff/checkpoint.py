"""Checkpointing: the backward pass recomputes the values between cuts. `engine.compile.derivation` calls it.

Source: Chen et al. 2016, "Training deep nets with sublinear memory cost".
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.graph.function import Function, ancestors
from engine.graph.graph import Node, Tensor
from engine.graph.rewrite import Rewrite


def recomputed(function: Function, boundary: int, keep: Sequence[Tensor]) -> Function:
    """Return the function with backward nodes that read no forward values except inputs, constants and `keep`.

    `boundary` is the index of the first node of the backward pass. Copies of forward nodes run directly before the
    first backward node that needs them, and a plan holds their results only from there.
    """
    rewrite = Rewrite(function)
    missing = _Missing(boundary, frozenset(keep))
    for node in function.nodes:
        if node.index >= boundary:
            for needed in missing.before(node):
                rewrite.recompute(needed, node)
        rewrite.keep(node)
    return rewrite.function()


def after_cuts(function: Function, boundary: int, cuts: Sequence[Tensor]) -> list[Tensor]:
    """Return the forward values that no cut depends on. The backward pass reads them first."""
    before = set(ancestors(cuts))
    forward = (node for node in function.nodes if node.index < boundary and node not in before)
    return [tensor for node in forward for tensor in node.outputs]


class _Missing:
    """The forward nodes that backward nodes need and that are neither kept nor recomputed yet."""

    def __init__(self, boundary: int, keep: frozenset[Tensor]) -> None:
        self._boundary, self._keep = boundary, keep
        self._recomputed: set[Node] = set()

    def before(self, node: Node) -> list[Node]:
        """Return the nodes to recompute before a backward node, in the order of the forward pass."""
        found: set[Node] = set()
        stack = list(node.inputs)
        while stack:
            tensor = stack.pop()
            if self._is_missing(tensor) and tensor.node not in found:
                found.add(tensor.node)
                stack.extend(tensor.node.inputs)
        self._recomputed |= found
        return sorted(found, key=lambda needed: needed.index)

    def _is_missing(self, tensor: Tensor) -> bool:
        node = tensor.node
        known = tensor in self._keep or node in self._recomputed
        return bool(node.inputs) and node.index < self._boundary and not known
