"""The sparsity pattern of a Jacobian, without values. `engine.autodiff.sparsity.mode` calls `pattern`.

Every element has a set. Forward, it is the set of input elements that the element depends on. Backward, it is the set
of output elements that depend on the element. The direction with fewer bits is used. A set is a row of bits: a union is
a bitwise OR of words.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

import numpy as np

from engine.autodiff.sparsity.relations import relations
from engine.graph.function import ancestors
from engine.graph.graph import Node, Tensor
from engine.graph.relation import Relation, Side

Array = np.ndarray[Any, Any]
Bits = dict[Tensor, Array]
"""The sets of each tensor's elements, (elements, words)."""

WORDS = 2**24
"""The maximum number of 64-bit words of one search: about 100 ms and far less than 128 MiB at once."""

ELEMENTS = 2**26
"""The maximum number of elements of a Jacobian. A larger Jacobian is treated as dense."""


def pattern(outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> Array | None:
    """Return the sparsity pattern of the Jacobian of outputs by inputs, or None if the search costs too much.

    The array is bool, (elements of all outputs, elements of all inputs). It is false only for derivatives that are zero
    for every value. It can be true for a derivative of zero.
    """
    rows, columns = (sum(tensor.numel for tensor in tensors) for tensors in (outputs, inputs))
    if not 0 < rows * columns <= ELEMENTS:
        return None
    walk = _Walk()
    try:
        if columns <= rows:
            return walk.pushed(outputs, inputs)
        return walk.pulled(outputs, inputs)
    except _BudgetExceeded:
        return None


class _BudgetExceeded(Exception):
    """The search needs more than WORDS words."""


class _Walk:
    """Propagates sets through the graph, and counts the words."""

    def __init__(self) -> None:
        self.left = WORDS

    def pushed(self, outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> Array:
        """Return the pattern from the sets of input elements that the outputs depend on."""
        bits = self._units(inputs)
        order = _moved(ancestors(outputs), inputs)
        last = {tensor: node for node in order for tensor in node.inputs}
        for node in order:
            for relation in self._relations(node, bits):
                source, target = node.inputs[relation.position], node.outputs[relation.result]
                self._join(
                    bits, target, self._carried(bits[source], relation.source, relation.target, relation, target)
                )
            for tensor in {tensor for tensor in node.inputs if last[tensor] is node} - set(outputs):
                bits.pop(tensor, None)
        return _unpacked(bits, outputs, inputs)

    def pulled(self, outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> Array:
        """Return the pattern from the sets of output elements that depend on the inputs."""
        bits = self._units(outputs)
        order = _moved(ancestors(outputs), inputs)
        moving = {*inputs, *(tensor for node in order for tensor in node.outputs)}
        for node in reversed(order):
            for relation in self._relations(node, moving, [result in bits for result in node.outputs]):
                source, target = node.inputs[relation.position], node.outputs[relation.result]
                self._join(
                    bits, source, self._carried(bits[target], relation.target, relation.source, relation, source)
                )
            for tensor in set(node.outputs) - set(inputs):
                bits.pop(tensor, None)
        return _unpacked(bits, inputs, outputs).T

    def _units(self, tensors: Sequence[Tensor]) -> Bits:
        """Return a set for each element that contains only the element."""
        count = sum(tensor.numel for tensor in tensors)
        width = -(-count // 64)
        self._spend(count * width)
        units = np.zeros((count, width * 8), np.uint8)
        every = np.arange(count)
        units[every, every // 8] = 1 << (every % 8)
        ends = np.cumsum([tensor.numel for tensor in tensors])[:-1]
        bits: Bits = {}
        for tensor, own in zip(tensors, np.split(units.view(np.uint64), ends), strict=True):
            self._join(bits, tensor, own)  # a tensor can occur twice, under two names
        return bits

    def _relations(
        self, node: Node, moving: Container[Tensor], reached: Sequence[bool] | None = None
    ) -> list[Relation]:
        """Return the node's relations from the inputs in `moving` to the results with `reached`."""
        positions = [position for position, tensor in enumerate(node.inputs) if tensor in moving]
        self._spend(sum(tensor.numel for tensor in (*node.inputs, *node.outputs)) // 4)
        return [relation for relation in relations(node, positions) if reached is None or reached[relation.result]]

    def _join(self, bits: Bits, tensor: Tensor, found: Array) -> None:
        known = bits.get(tensor)
        if known is None:
            bits[tensor] = found
        else:
            self._spend(found.size)
            bits[tensor] = known | found

    def _carried(self, rows: Array, source: Side, target: Side, relation: Relation, to: Tensor) -> Array:
        """Return the sets on the other side of a relation."""
        hubs = self._gathered(rows, source.elements, source.hubs, relation.hubs)
        return self._gathered(hubs, target.hubs, target.elements, to.numel)

    def _gathered(self, rows: Array, take: Array | None, put: Array | None, size: int) -> Array:
        """Return `size` rows. Row p is the union of the rows `take[i]` with `put[i] == p`."""
        if take is None and put is None:
            return rows
        count = len(rows) if take is None else len(take)
        self._spend((count + size) * rows.shape[1])
        taken = rows if take is None else rows[take]
        if put is None:
            return taken
        result = np.zeros((size, rows.shape[1]), np.uint64)
        if count:
            order = np.argsort(put, kind="stable")
            positions = put[order]
            starts = np.flatnonzero(np.diff(positions, prepend=-1))
            result[positions[starts]] = np.bitwise_or.reduceat(taken[order], starts)
        return result

    def _spend(self, words: int) -> None:
        self.left -= words
        if self.left < 0:
            raise _BudgetExceeded


def _moved(order: Sequence[Node], inputs: Sequence[Tensor]) -> list[Node]:
    """Return the differentiable nodes that depend on the inputs."""
    moving = set(inputs)
    found = []
    for node in order:
        if node.primitive.differentiable and not moving.isdisjoint(node.inputs):
            found.append(node)
            moving.update(result for result in node.outputs if result.dtype.is_differentiable)
    return found


def _unpacked(bits: Bits, tensors: Sequence[Tensor], members: Sequence[Tensor]) -> Array:
    """Return the sets of the tensors' elements as an array of bools, (elements of tensors, elements of members)."""
    columns = sum(tensor.numel for tensor in members)
    rows = [bits[t] if t in bits else np.zeros((t.numel, -(-columns // 64)), np.uint64) for t in tensors]
    joined = np.ascontiguousarray(np.concatenate(rows)).view(np.uint8)
    return np.unpackbits(joined, axis=1, count=columns, bitorder="little").view(np.bool_)
