"""Sums of pieces that were each put among zeros: written side by side instead, in one pass over the result.

The gradient of a slice is zeros but for the slice. Where a tensor is taken apart, those of its pieces are added up: as
many passes over the whole of it as there are pieces.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from engine.graph import Node, Tensor
from engine.operands import CONSTANT
from engine.ops.slicing import BESIDE, PAD


class Place(NamedTuple):
    """Where a piece stands: along one negative dimension, which has that size, from `start` on."""

    dim: int
    size: int
    start: int


def side_by_side(order: list[Node], wanted: Sequence[Tensor]) -> list[Node]:
    """Return the nodes of `order` with one node for each sum of padded pieces that do not meet.

    It gives the tensor that the sum gave, so that all that read that stay as they are.
    """
    places = {node.outputs[0]: place for node in order if (place := _place(node)) is not None}
    if len(places) < 2:
        return order
    sums = _sums(order, places)
    inner = _inner(order, wanted, sums)
    joined = {node: made for node in sums if node not in inner and (made := _joined(node, places, inner)) is not None}
    droppable = {*sums, *[tensor.node for tensor in places]}
    return list(reversed(list(_read([joined.get(node, node) for node in order], wanted, droppable))))


def _place(node: Node) -> Place | None:
    """Return where a node puts its input among zeros, if it does that, along one dimension."""
    if node.primitive is not PAD or not node.inputs[0].dtype.is_floating:
        return None
    if not _is_zero(node.inputs[1]):
        return None
    padded = [
        (dim, width) for dim, width in enumerate(node.params["widths"], -len(node.params["widths"])) if any(width)
    ]
    if len(padded) != 1:
        return None
    ((dim, (start, _, between)),) = padded
    return None if between else Place(dim, node.outputs[0].shape[dim], start)


def _is_zero(tensor: Tensor) -> bool:
    """Whether a tensor is the constant 0, in whatever shape; -0 is another: added to -0 it leaves the sign."""
    node = tensor.node
    while node.primitive.name in ("_expand", "_reshape"):
        node = node.inputs[0].node
    return node.primitive is CONSTANT and repr(node.params["value"]) == "0.0"


def _sums(order: Sequence[Node], places: Collection[Tensor]) -> dict[Node, None]:
    """Return the additions of padded pieces, and of such additions, in their order."""
    found: dict[Node, None] = {}
    for node in order:
        if node.primitive.name == "_add" and all(t.node in found or t in places for t in node.inputs):
            first, second = node.inputs
            if first.shape == second.shape:
                found[node] = None
    return found


def _inner(order: Sequence[Node], wanted: Sequence[Tensor], sums: Collection[Node]) -> set[Node]:
    """Return the sums that nothing but one other sum reads."""
    readers: dict[Node, list[Node | None]] = {node: [] for node in sums}
    for tensor in wanted:
        readers.get(tensor.node, []).append(None)
    for node in order:
        for tensor in node.inputs:
            if tensor.node in readers:
                readers[tensor.node].append(node)
    return {node for node, found in readers.items() if len(found) == 1 and found[0] in sums}


def _joined(root: Node, places: dict[Tensor, Place], inner: Collection[Node]) -> Node | None:
    """Return the node that does what a sum and those inside it do, or None where pieces meet."""
    pieces: list[Tensor] = []
    stack = list(root.inputs)
    while stack:
        tensor = stack.pop()
        if tensor in places:
            pieces.append(tensor)
        elif tensor.node in inner:
            stack.extend(tensor.node.inputs)
        else:
            return None
    found = sorted([(places[padded], padded.node.inputs[0]) for padded in pieces], key=lambda piece: piece[0])
    dim, size, reached = found[0][0].dim, found[0][0].size, 0
    for place, tensor in found:
        if place.dim != dim or place.start < reached:
            return None
        reached = place.start + tensor.shape[dim]
    params = {"axis": dim, "size": size, "starts": tuple(place.start for place, _ in found)}
    made = Node(root.index, BESIDE, tuple(tensor for _, tensor in found), params, root.origin)
    made.outputs = root.outputs
    return made


def _read(order: Sequence[Node], wanted: Sequence[Tensor], droppable: Collection[Node]) -> Iterator[Node]:
    """Yield the nodes from the last to the first, without those of the `droppable` that nothing reads any more."""
    needed = set(wanted)
    for node in reversed(order):
        if node not in droppable or node.outputs[0] in needed:
            needed.update(node.inputs)
            yield node
