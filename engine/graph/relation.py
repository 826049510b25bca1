"""Sparsity relations: pairs of input elements and result elements, stored through hubs.

Each input element is connected to hubs, and each hub to result elements. A moved element is its own hub. A sum has one
hub per result. A product of matrices has one hub per row or column. A relation may contain more pairs than the
derivative has nonzeros, never fewer. Primitives declare relations, and `engine.autodiff.sparsity.relations` reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.graph.types import Shape, numel

Array = np.ndarray[Any, Any]

PROBE = 2**22
"""Maximum number of pairs of a relation that is listed element by element: about 20 ms."""


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """Pairs of an element and a hub. Without `elements`: all elements in order. Without both: each is its own hub."""

    hubs: Array | None = None
    elements: Array | None = None


EACH = Side()
"""Each element is its own hub."""


@dataclass(frozen=True, slots=True, eq=False)
class Relation:
    """The dependence of result `result` of a node on input `position`: input elements, hubs, result elements."""

    position: int
    result: int
    source: Side
    target: Side
    hubs: int


def numbered(shape: Shape, broadcast: Shape) -> Array:
    """Return, for each element of a broadcast tensor, the index of its source element."""
    return np.broadcast_to(np.arange(numel(shape)).reshape(shape), broadcast).ravel()


def through(position: int, result: int, source: tuple[Shape, Shape], target: tuple[Shape, Shape]) -> Relation:
    """Return the relation through hubs. `source` and `target` are a hub shape and its broadcast shape."""
    own, others = (Side(None if hubs == shape else numbered(hubs, shape)) for hubs, shape in (source, target))
    return Relation(position, result, own, others, numel(source[0]))


def without(shape: Shape, dims: Sequence[int]) -> Shape:
    """Return the shape with size 1 at negative `dims`."""
    return tuple(1 if dim in dims else size for dim, size in enumerate(shape, -len(shape)))
