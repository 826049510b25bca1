"""How a Jacobian is found: forward or reverse, and how many directions at once find it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from engine.graph import Tensor

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """Which elements of a Jacobian block can be other than zero, and the colour whose direction finds each.

    `rows` and `columns` index the block of shape (outputs, inputs); `colours` has a number for each of them.
    """

    rows: Array
    columns: Array
    colours: Array


@dataclass(frozen=True, slots=True)
class Passes:
    """The mode of a Jacobian; for sparse blocks, their patterns and the colours of directions that share a pass."""

    mode: Literal["forward", "reverse"]

    def pattern(self, output: Tensor, wrt: Tensor) -> Pattern | None:
        """Return the pattern of a block, or None where it is taken as dense."""
        return None

    def colours(self, direction: Tensor) -> Array | None:
        """Return a colour for each element of the direction's space, or None where each has a pass of its own."""
        return None


def choose(outputs: Sequence[Tensor], inputs: Sequence[Tensor], mode: str) -> Passes:
    """Return how to find the Jacobian of outputs by inputs: as asked, or with the fewer passes."""
    if mode == "auto":
        columns = sum(tensor.numel for tensor in inputs)
        rows = sum(tensor.numel for tensor in outputs)
        mode = "forward" if columns < rows else "reverse"
    return Passes("forward" if mode == "forward" else "reverse")
