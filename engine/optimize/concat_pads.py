"""Rewrite a sum of zero-padded pieces as one concatenation. Used by `engine.execute.numpy.lowering`.

The gradient of a slice is zero outside the slice. If a tensor is split into slices, their gradients are summed, with
one pass over the whole tensor for each slice. The concatenation writes the result in one pass.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from engine.graph.function import Function
from engine.graph.graph import Node, Tensor
from engine.graph.promotion import CONSTANT
from engine.graph.rewrite import Rewrite
from engine.ops.elementwise.arithmetic import ADD
from engine.ops.indexing.slicing import CONCAT_PADS, PAD


class Place(NamedTuple):
    """Position of a piece in the result: a negative dimension, the size of that dimension, and the first index."""

    dim: int
    size: int
    start: int


class Piece(NamedTuple):
    """A tensor and its position in the result."""

    place: Place
    tensor: Tensor


def side_by_side(function: Function) -> Function:
    """Return the function with one node for each sum of padded pieces that do not overlap."""
    padded = [node for node in function.nodes if node.primitive is PAD]
    places = {node.outputs[0]: place for node in padded if (place := _place(node)) is not None}
    if len(places) < 2:
        return function
    sums = _sums(function.nodes, places)
    inner = _inner(function, sums)
    rewrite = Rewrite(function)
    for node in function.nodes:
        pieces = _pieces(node, places, inner) if node in sums and node not in inner else []
        if pieces:
            (joined,) = rewrite.add(CONCAT_PADS, *_joined_pieces(pieces, rewrite), at=node)
            rewrite.replace(node.outputs[0], joined)
        else:
            rewrite.keep(node)
    return rewrite.function()


def _joined_pieces(pieces: Sequence[Piece], rewrite: Rewrite) -> tuple[list[Tensor], dict[str, Any]]:
    """Return the inputs and parameters of the node that concatenates the pieces."""
    place = pieces[0].place
    starts = tuple([piece.place.start for piece in pieces])
    return [rewrite.of(piece.tensor) for piece in pieces], {"axis": place.dim, "size": place.size, "starts": starts}


def _place(node: Node) -> Place | None:
    """Return the position of a pad node's input, if the padding is zeros along one dimension; otherwise None."""
    if not node.inputs[0].dtype.is_floating or not _is_zero(node.inputs[1]):
        return None
    padded = [
        (dim, width) for dim, width in enumerate(node.params["widths"], -len(node.params["widths"])) if any(width)
    ]
    if len(padded) != 1:
        return None
    ((dim, (start, _, between)),) = padded
    return None if between else Place(dim, node.outputs[0].shape[dim], start)


def _is_zero(tensor: Tensor) -> bool:
    """Whether a tensor is the constant +0 of any shape. -0 does not count: -0 + -0 keeps the sign."""
    node = tensor.node
    while node.primitive.broadcasts or node.primitive.may_copy:
        node = node.inputs[0].node
    return node.primitive is CONSTANT and repr(node.params["value"]) == "0.0"


def _sums(order: Sequence[Node], places: Collection[Tensor]) -> dict[Node, None]:
    """Return the additions of padded pieces, including nested additions, in graph order."""
    found: dict[Node, None] = {}
    for node in order:
        if node.primitive is ADD and all(t.node in found or t in places for t in node.inputs):
            first, second = node.inputs
            if first.shape == second.shape:
                found[node] = None
    return found


def _inner(function: Function, sums: Collection[Node]) -> set[Node]:
    """Return the sums with one reader that is also a sum."""
    readers: dict[Node, list[Node | None]] = {node: [] for node in sums}
    for tensor in function.outputs:
        readers.get(tensor.node, []).append(None)
    for node in function.nodes:
        for tensor in node.inputs:
            if tensor.node in readers:
                readers[tensor.node].append(node)
    return {node for node, found in readers.items() if len(found) == 1 and found[0] in sums}


def _pieces(root: Node, places: Mapping[Tensor, Place], inner: Collection[Node]) -> list[Piece]:
    """Return the pieces of a sum and its nested sums, sorted by position; an empty list if pieces overlap."""
    found: list[Piece] = []
    stack = list(root.inputs)
    while stack:
        tensor = stack.pop()
        if tensor in places:
            found.append(Piece(places[tensor], tensor.node.inputs[0]))
        elif tensor.node in inner:
            stack.extend(tensor.node.inputs)
        else:
            return []
    found.sort(key=lambda piece: piece.place)
    dim, reached = found[0].place.dim, 0
    for place, tensor in found:
        if place.dim != dim or place.start < reached:
            return []
        reached = place.start + tensor.shape[dim]
    return found
