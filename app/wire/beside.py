"""What codecs ask of somebody who reads or writes a part of what is long at the same time: `app.second`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

Array = np.ndarray[Any, Any]


class Piece(NamedTuple):
    """A piece of a list: its numbers, and the brackets and commas around and between them, one after the other.

    `size` are the bytes of the text that they were read from.
    """

    numbers: Array
    marks: bytes
    size: int


class Beside(Protocol):
    """Does one thing at a time, and returns at once with how it is waited for: that gives None where it was not done.

    What it gives is to be used up before the next thing is asked for.
    """

    def read(self, begin: int, end: int, kind: str) -> Callable[[], Piece | None]:
        """Read the numbers in a part of the body that begins and ends with a list or at a comma."""

    def write(self, array: Array) -> Callable[[], memoryview | None]:
        """Write a contiguous array as JSON, without its outer brackets."""
