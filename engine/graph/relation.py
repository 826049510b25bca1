"""Sparsity relations: pairs of input elements and result elements, stored through hubs.

An element of the input leads to some hubs, and each hub to some elements of the result. A moved element is its own hub;
a sum has one hub for each result; a product of matrices has one for each row or column. A relation may hold more pairs
than the derivative has nonzeros, never fewer. Primitives declare relations; `engine.autodiff.sparsity.relations` reads
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.graph.types import Shape, numel

Array = np.ndarray[Any, Any]

PROBE = 2**22
"""Pairs up to which a relation is listed element by element: about 20 ms."""


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """Pairs of an element and a hub. Without `elements`, all of them in turn; without both, each is its own hub."""

    hubs: Array | None = None
    elements: Array | None = None


EACH = Side()
"""Each element is its own hub."""


@dataclass(frozen=True, slots=True, eq=False)
class Relation:
    """How result `result` of a node depends on input `position`: from the input's elements to hubs to the result's."""

    position: int
    result: int
    source: Side
    target: Side
    hubs: int


def numbered(shape: Shape, broadcast: Shape) -> Array:
    """Return for each element of a broadcast tensor the number of the element before broadcasting."""
    return np.broadcast_to(np.arange(numel(shape)).reshape(shape), broadcast).ravel()


def through(position: int, result: int, source: tuple[Shape, Shape], target: tuple[Shape, Shape]) -> Relation:
    """Return the relation through hubs of a shape that broadcasts to the input's, and one that does to the result's."""
    own, others = (Side(None if hubs == shape else numbered(hubs, shape)) for hubs, shape in (source, target))
    return Relation(position, result, own, others, numel(source[0]))


def without(shape: Shape, dims: Sequence[int]) -> Shape:
    """Return the shape with size 1 at negative `dims`."""
    return tuple(1 if dim in dims else size for dim, size in enumerate(shape, -len(shape)))
