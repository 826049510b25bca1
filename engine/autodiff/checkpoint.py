"""Checkpointing: values between cuts are computed again on the way back instead of kept.

Source: Chen et al. 2016, "Training deep nets with sublinear memory cost".
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.autodiff.reverse import ancestors
from engine.graph import Node, Tensor


def recomputed(wanted: Sequence[Tensor], boundary: int, keep: Sequence[Tensor]) -> list[Tensor]:
    """Return the wanted tensors, computed by copies of nodes that read no forward value but leaves and `keep`.

    `boundary` is the index of the first node of the backward pass. Copies of forward nodes are placed right before the
    backward node that first needs them, so that a plan holds them only from there on.
    """
    copier = _Copier(boundary, set(keep))
    for node in ancestors(wanted):
        if node.index >= boundary:
            copier.copy(node)
    return [copier.of(tensor) for tensor in wanted]


def behind(wanted: Sequence[Tensor], boundary: int, cuts: Sequence[Tensor]) -> list[Tensor]:
    """Return the forward values that no cut depends on: the way back begins with them, so that they can stay."""
    before = set(ancestors(cuts))
    forward = (node for node in ancestors(wanted) if node.index < boundary and node not in before)
    return [tensor for node in forward for tensor in node.outputs]


class _Copier:
    """Copies nodes past the builder's merging, each at most once."""

    def __init__(self, boundary: int, keep: set[Tensor]) -> None:
        self.boundary, self.keep = boundary, keep
        self.copies: dict[Node, Node] = {}
        self.index = 0

    def of(self, tensor: Tensor) -> Tensor:
        """Return the copy of a tensor, or the tensor itself where it is kept."""
        copy = self.copies.get(tensor.node)
        return tensor if copy is None else copy.outputs[tensor.position]

    def copy(self, node: Node) -> None:
        """Copy a backward node, and before it every forward node that it needs and that is neither kept nor copied."""
        for needed in self._missing(node):
            self._copy(needed)
        self._copy(node)

    def _missing(self, node: Node) -> list[Node]:
        found: set[Node] = set()
        stack = [tensor for tensor in node.inputs if self._recompute(tensor)]
        while stack:
            needed = stack.pop().node
            if needed not in found:
                found.add(needed)
                stack.extend([tensor for tensor in needed.inputs if self._recompute(tensor)])
        return sorted(found, key=lambda needed: needed.index)

    def _recompute(self, tensor: Tensor) -> bool:
        node = tensor.node
        return bool(node.inputs) and node.index < self.boundary and tensor not in self.keep and node not in self.copies

    def _copy(self, node: Node) -> None:
        """Number the copy behind every node of the forward pass, in the order of copying."""
        copy = Node(
            self.boundary + self.index, node.primitive, tuple(map(self.of, node.inputs)), node.params, node.origin
        )
        copy.outputs = tuple(
            Tensor(copy, result.position, result.dtype, result.shape, result.numel, result.requires_grad)
            for result in node.outputs
        )
        self.index += 1
        self.copies[node] = copy
