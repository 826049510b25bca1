"""Layout optimization: keep the batch axis last between convolutions. Used by `engine.execute.numpy.lowering`.

A convolution computes on (C, *sizes, N), and users pass (N, C, *sizes), so each convolution begins and ends with a
permutation. Nodes between two convolutions would read strided memory. This pass moves the permutation after a
convolution past the nodes that read it (elementwise, pooling), up to the permutation before the next convolution, and
removes both. Values do not change.
"""

from __future__ import annotations

from typing import Any

from engine.graph.function import Function
from engine.graph.graph import Node, Tensor
from engine.graph.rewrite import Rewrite
from engine.graph.traits import turned
from engine.ops.shape.movement import _permute, _reshape


def with_batch_last(function: Function) -> Function:
    """Return the function without the permutations between convolutions."""
    if not any(node.primitive.channels_first for node in function.nodes):
        return function
    layout = _Layout(Rewrite(function))
    for node in function.nodes:
        layout.take(node)
    return layout.rewrite.function()


class _Layout:
    """Visits nodes in execution order and rewrites the nodes that can run with the batch last.

    `last` maps an original tensor to its batch-last version and to the number of trailing dimensions that the
    permutation rotates, the batch included.
    """

    def __init__(self, rewrite: Rewrite) -> None:
        self.rewrite = rewrite
        self.last: dict[Tensor, tuple[Tensor, int]] = {}
        self._turned: dict[tuple[Tensor, int], Tensor] = {}

    def take(self, node: Node) -> None:
        """Add a node, or its rewritten version."""
        rank = _to_last(node)
        if rank and self._rank(node) == rank:
            self.rewrite.replace(node.outputs[0], self.last[node.inputs[0]][0])
            return
        if self._move_past(node):
            return
        kept = self.rewrite.keep(node)
        rank = _to_first(node)
        if rank:
            self.last[node.outputs[0]] = (kept.inputs[0], rank)

    def _rank(self, node: Node) -> int:
        """Return the common rank of a node's inputs that have a batch-last version, or 0."""
        ranks = {self.last[tensor][1] for tensor in node.inputs if tensor in self.last}
        return ranks.pop() if len(ranks) == 1 else 0

    def _move_past(self, node: Node) -> bool:
        """Add the node on batch-last inputs, if it supports them and permuting the other inputs costs no more."""
        rank = self._rank(node)
        if not rank or any(tensor.ndim < rank for tensor in node.outputs):
            return False
        rule = _unchanged if node.primitive.kind == "elementwise" else node.primitive.batch_last
        if rule is not _unchanged and any(_is_led(tensor, node, rank) for tensor in node.inputs):
            return False
        saved = sum(tensor.numel if tensor in self.last else -_cost(tensor, rank) for tensor in node.inputs)
        if rule is None or saved < 0:
            return False
        inputs = [self._turn(tensor, rank, node) for tensor in node.inputs]
        made = self.rewrite.add(node.primitive, inputs, rule(node, rank), at=node)
        for before, after in zip(node.outputs, made, strict=True):
            (back,) = self.rewrite.add(_permute, (after,), {"dims": (-1, *range(-rank, -1))}, at=node)
            self.rewrite.replace(before, back)
            self.last[before] = (after, rank)
        return True

    def _turn(self, tensor: Tensor, rank: int, reader: Node) -> Tensor:
        """Return an operand with its batch last; an operand of fewer dimensions broadcasts as before."""
        if tensor in self.last:
            return self.last[tensor][0]
        given = self.rewrite.of(tensor)
        if not tensor.ndim or (tensor.ndim < rank and reader.primitive.kind != "elementwise"):
            return given
        known = self._turned.get((tensor, rank))
        if known is not None:
            return known
        if tensor.ndim < rank:
            shape = turned((*(1,) * (rank - tensor.ndim), *tensor.shape), rank)
            (made,) = self.rewrite.add(_reshape, (given,), {"shape": shape}, at=reader)
        else:
            (made,) = self.rewrite.add(_permute, (given,), {"dims": (*range(1 - rank, 0), -rank)}, at=reader)
        self._turned[tensor, rank] = made
        return made


def _unchanged(node: Node, rank: int) -> dict[str, Any]:
    """Return the parameters of an elementwise node, which contain no dimensions."""
    return node.params


def _to_last(node: Node) -> int:
    """Return the number of trailing dimensions, if the node moves the first of them to the end; otherwise 0."""
    if node.primitive is not _permute:
        return 0
    rank = len(node.params["dims"])
    return rank if rank > 2 and node.params["dims"] == (*range(1 - rank, 0), -rank) else 0


def _to_first(node: Node) -> int:
    """Return the number of trailing dimensions, if the node moves the last of them to the front; otherwise 0."""
    if node.primitive is not _permute:
        return 0
    rank = len(node.params["dims"])
    return rank if rank > 2 and node.params["dims"] == (-1, *range(-rank, -1)) else 0


def _is_led(tensor: Tensor, node: Node, rank: int) -> bool:
    """Whether a non-image operand (a padding value) has a leading dimension that the permutation would move last."""
    return node.outputs[0].ndim - rank < tensor.ndim < rank


def _cost(tensor: Tensor, rank: int) -> int:
    """Return the number of strided reads if a tensor is permuted: 0 for a broadcast scalar."""
    repeats = tensor.node.primitive.broadcasts and tensor.node.inputs[0].numel == 1
    return 0 if repeats or tensor.ndim < rank else tensor.numel
