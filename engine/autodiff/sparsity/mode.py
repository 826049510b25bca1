"""The directions of a Jacobian in forward or reverse mode: the patterns and colours of its sparse blocks.

`engine.compile.derivatives` calls `passes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from engine.autodiff.sparsity import pattern as sparsity
from engine.autodiff.sparsity.colouring import coloured
from engine.graph.graph import Tensor

Array = np.ndarray[Any, Any]

WORTHWHILE = 3 / 4
"""The largest ratio of directions with colouring to directions without it: a pattern costs memory and assembly."""


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """The elements of a Jacobian block that can be nonzero, and the colour of each.

    `rows` and `columns` index the block of shape (outputs, inputs). `colours` has the number of the direction that
    computes each element.
    """

    rows: Array
    columns: Array
    colours: Array


@dataclass(frozen=True, slots=True, eq=False)
class Mode:
    """The patterns of sparse blocks, and the colours of their columns or rows."""

    _patterns: Mapping[tuple[Tensor, Tensor], Pattern] = field(default_factory=dict)
    _colours: Mapping[Tensor, Array] = field(default_factory=dict)

    def pattern(self, output: Tensor, wrt: Tensor) -> Pattern | None:
        """Return the pattern of a block, or None for a dense block."""
        return self._patterns.get((output, wrt))

    def colours(self, direction: Tensor) -> Array | None:
        """Return a colour for each element of the direction's space, or None if each element has its own direction."""
        return self._colours.get(direction)


def passes(outputs: Sequence[Tensor], inputs: Sequence[Tensor], mode: Literal["forward", "reverse"]) -> Mode:
    """Return the patterns and colours of the Jacobian of outputs by inputs in a mode."""
    found = sparsity.pattern(outputs, inputs)
    return (_forward if mode == "forward" else _reverse)(outputs, inputs, found)


def _forward(outputs: Sequence[Tensor], inputs: Sequence[Tensor], found: Array | None) -> Mode:
    """Colour the columns of each input."""
    colours: dict[Tensor, Array] = {}
    patterns: dict[tuple[Tensor, Tensor], Pattern] = {}
    for wrt, columns in zip(inputs, _parts(inputs), strict=True):
        own = None if found is None else _worthwhile(found[:, columns])
        if own is not None and found is not None:
            colours[wrt] = own
            for output, rows in zip(outputs, _parts(outputs), strict=True):
                row, column = _nonzeros(found[rows, columns])
                patterns[output, wrt] = Pattern(row, column, own[column])
    return Mode(patterns, colours)


def _reverse(outputs: Sequence[Tensor], inputs: Sequence[Tensor], found: Array | None) -> Mode:
    """Colour the rows of each output."""
    colours: dict[Tensor, Array] = {}
    patterns: dict[tuple[Tensor, Tensor], Pattern] = {}
    for output, rows in zip(outputs, _parts(outputs), strict=True):
        own = None if found is None else _worthwhile(found[rows].T)
        if own is not None and found is not None:
            colours[output] = own
            for wrt, columns in zip(inputs, _parts(inputs), strict=True):
                row, column = _nonzeros(found[rows, columns])
                patterns[output, wrt] = Pattern(row, column, own[row])
    return Mode(patterns, colours)


def _parts(tensors: Sequence[Tensor]) -> list[slice]:
    """Return the slice of each tensor's elements in the concatenation of all tensors."""
    ends = np.cumsum([0, *[tensor.numel for tensor in tensors]]).tolist()
    return [slice(start, stop) for start, stop in pairwise(ends)]


def _worthwhile(block: Array) -> Array | None:
    """Return colours of a block's columns, or None if they save too few directions."""
    count = block.shape[1]
    return coloured(block, int(count * WORTHWHILE)) if count > 1 else None


def _nonzeros(block: Array) -> tuple[Array, Array]:
    """Return the rows and columns of the true elements."""
    rows, columns = np.nonzero(block)
    return rows.astype(np.int32), columns.astype(np.int32)  # blocks have fewer than 2^31 elements


def count_of(colours: Array) -> int:
    """Return the number of directions of a colouring, at least one."""
    return max(int(colours.max(initial=-1)) + 1, 1)
