"""How a Jacobian is found: forward or reverse, and how many directions at once find it."""

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
"""Passes that colouring may leave, of those without it: a pattern is kept with the plan and costs its assembly."""


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """Which elements of a Jacobian block can be other than zero, and the colour whose direction finds each.

    `rows` and `columns` index the block of shape (outputs, inputs); `colours` has a number for each of them.
    """

    rows: Array
    columns: Array
    colours: Array


@dataclass(frozen=True, slots=True, eq=False)
class Mode:
    """The patterns of sparse blocks, and the colours of directions that share a pass."""

    _patterns: Mapping[tuple[Tensor, Tensor], Pattern] = field(default_factory=dict)
    _colours: Mapping[Tensor, Array] = field(default_factory=dict)

    def pattern(self, output: Tensor, wrt: Tensor) -> Pattern | None:
        """Return the pattern of a block, or None where it is taken as dense."""
        return self._patterns.get((output, wrt))

    def colours(self, direction: Tensor) -> Array | None:
        """Return a colour for each element of the direction's space, or None where each has a pass of its own."""
        return self._colours.get(direction)


def passes(outputs: Sequence[Tensor], inputs: Sequence[Tensor], mode: Literal["forward", "reverse"]) -> Mode:
    """Return how a mode finds the Jacobian of outputs by inputs."""
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
    """Return where each tensor's elements are, when those of all stand one behind the other."""
    ends = np.cumsum([0, *[tensor.numel for tensor in tensors]]).tolist()
    return [slice(start, stop) for start, stop in pairwise(ends)]


def _worthwhile(block: Array) -> Array | None:
    """Return colours of a block's columns, or None where they save too few passes."""
    count = block.shape[1]
    return coloured(block, int(count * WORTHWHILE)) if count > 1 else None


def _nonzeros(block: Array) -> tuple[Array, Array]:
    """Return the rows and columns of what is true."""
    rows, columns = np.nonzero(block)
    return rows.astype(np.int32), columns.astype(np.int32)  # blocks have fewer than 2^31 elements


def count_of(colours: Array) -> int:
    """Return how many directions a colouring has: one at least, because what runs needs one."""
    return max(int(colours.max(initial=-1)) + 1, 1)
