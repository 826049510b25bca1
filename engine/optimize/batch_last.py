"""Between convolutions images keep their batch last: pooling and what is elementwise take them as they lie in memory.

A convolution wants (C, *sizes, N) where users see (N, C, *sizes), so that it begins and ends with a permutation, and
all between two of them would read memory in strides. Here the permutation behind a convolution moves past the nodes
that read it, until it meets the next convolution's and both are left out. Every value is the same as before.
"""

from __future__ import annotations

from typing import Any

from engine.graph.function import Function
from engine.graph.graph import Node, Tensor
from engine.graph.rewrite import Rewrite
from engine.graph.traits import turned
from engine.ops.shape.movement import _permute, _reshape


def with_batch_last(function: Function) -> Function:
    """Return the function with the permutations between convolutions left out."""
    if not any(node.primitive.channels_first for node in function.nodes):
        return function
    layout = _Layout(Rewrite(function))
    for node in function.nodes:
        layout.take(node)
    return layout.rewrite.function()


class _Layout:
    """Takes nodes in the order in which they run, and rewrites those that can run with the batch last.

    `last` is a tensor with its batch last, by the tensor as it was, and how many of the last dimensions the batch
    moved past, itself included.
    """

    def __init__(self, rewrite: Rewrite) -> None:
        self.rewrite = rewrite
        self.last: dict[Tensor, tuple[Tensor, int]] = {}
        self._turned: dict[tuple[Tensor, int], Tensor] = {}

    def take(self, node: Node) -> None:
        """Add a node, or what it becomes."""
        rank = _to_last(node)
        if rank and self._rank(node) == rank:
            self.rewrite.replace(node.outputs[0], self.last[node.inputs[0]][0])
            return
        if self._travel(node):
            return
        kept = self.rewrite.keep(node)
        rank = _to_first(node)
        if rank:
            self.last[node.outputs[0]] = (kept.inputs[0], rank)

    def _rank(self, node: Node) -> int:
        """Return the rank that all of a node's inputs have that are known with their batch last, or 0."""
        ranks = {self.last[tensor][1] for tensor in node.inputs if tensor in self.last}
        return ranks.pop() if len(ranks) == 1 else 0

    def _travel(self, node: Node) -> bool:
        """Add the node on inputs with their batch last, if it can be and no more is turned for it than saved."""
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
        """Return an operand of a node with its batch last; one of fewer dimensions broadcasts as it did."""
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
    """Return the parameters of an elementwise node, which name no dimensions."""
    return node.params


def _to_last(node: Node) -> int:
    """Return past how many dimensions, itself included, a node moves a batch to the end; 0 for every other node."""
    if node.primitive is not _permute:
        return 0
    rank = len(node.params["dims"])
    return rank if rank > 2 and node.params["dims"] == (*range(1 - rank, 0), -rank) else 0


def _to_first(node: Node) -> int:
    """Return past how many dimensions, itself included, a node moves a batch to the front; 0 for every other node."""
    if node.primitive is not _permute:
        return 0
    rank = len(node.params["dims"])
    return rank if rank > 2 and node.params["dims"] == (-1, *range(-rank, -1)) else 0


def _is_led(tensor: Tensor, node: Node, rank: int) -> bool:
    """Whether an operand that is no image, the value to pad with, has a dimension in front that would be the last."""
    return node.outputs[0].ndim - rank < tensor.ndim < rank


def _cost(tensor: Tensor, rank: int) -> int:
    """Return the elements that are read in strides if a tensor is turned: one that repeats an element has none."""
    repeats = tensor.node.primitive.broadcasts and tensor.node.inputs[0].numel == 1
    return 0 if repeats or tensor.ndim < rank else tensor.numel
