"""Long lists of numbers in a JSON text, read into arrays without a Python object for each number.

`app.wire.cut` finds them, `app.wire.decode` reads them. simdjson reads the numbers, to the nearest double and as
strictly as JSON is; whether the lists nest regularly is looked up in their brackets and commas. What is not as simple
as that is left to the way that every list can go: this one refuses nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any, Literal

import numpy as np
import orjson

from app.wire.document import MAX_CONTAINERS
from engine.types import Category, DType, Shape

try:
    import simdjson
except ModuleNotFoundError:  # there are no wheels for Python 3.14
    READS = False
else:
    READS = True

Array = np.ndarray[Any, Any]

_PIECE = 2**17
"""Bytes that are read at a time: the text, simdjson's tape and the numbers stay in the cache."""

_MAX_NESTING = 64
Kind = Literal["d", "i"]
Piece = tuple[int, int]
"""Where a piece of a text begins and ends."""

_KINDS: dict[Category, tuple[Kind, type]] = {Category.FLOAT: ("d", np.float64), Category.INTEGER: ("i", np.int64)}


@dataclass(frozen=True, slots=True)
class Numbers:
    """A long list in a JSON text that may hold nothing but numbers and lists of them: text[begin:end]."""

    text: bytes
    begin: int
    end: int

    def read(self, dtype: DType) -> Array | None:
        """Return the numbers in the shape in which they nest, or None where it takes a closer look.

        They are float64 for floating dtypes and int64 for integers.
        """
        cuts = self._cuts()
        if cuts is None or dtype.category not in _KINDS:
            return None
        pieces = [(before + 1, after) for before, after in pairwise(cuts)]
        marks = [_marks(self.text, piece) for piece in pieces]
        shape = _shape(b",".join(marks))
        if shape is None:
            return None
        kind, wide = _KINDS[dtype.category]
        flat: Array = np.empty(prod(shape), wide)
        if not _fill(flat, self.text, pieces, marks, kind):
            return None
        if kind == "d" and not flat.all() and any(may_have_negative_zero(self.text[slice(*piece)]) for piece in pieces):
            return None
        return flat.reshape(shape)

    def lists(self, *, signed: bool) -> Any:
        """Return the list as Python objects, if `signed` with floats in place of `-0`.

        Raises ValueError where it is not JSON, or more lists than are made of one body.
        """
        text = self.text[self.begin : self.end]
        if text.count(b"[") > MAX_CONTAINERS:
            raise ValueError(MAX_CONTAINERS)
        return orjson.loads(NEGATIVE_ZERO.sub(b"-0.0", text) if signed else text)

    def _cuts(self) -> list[int] | None:
        """Return the places of commas about a piece apart, and the ends; None where so many bytes have no comma."""
        cuts = [self.begin - 1]
        while self.end - cuts[-1] > _PIECE:
            comma = self.text.rfind(b",", cuts[-1] + 1, cuts[-1] + _PIECE)
            if comma < 0:
                return None
            cuts.append(comma)
        return [*cuts, self.end]


NEGATIVE_ZERO = re.compile(rb"(?<![eE])-0(?=[,\]}\s])")
"""What a parser takes for the integer 0. `1e-0` is something else."""


def _marks(text: bytes, piece: Piece) -> bytes:
    """Return the brackets and commas of a piece, as they follow each other.

    Where the lists are long, commas are counted from bracket to bracket: five times as fast as taking out the rest.
    """
    begin, end = piece
    characters = np.frombuffer(text, np.uint8)[begin:end]
    places: Array = np.empty(0, np.intp)
    if text.find(b"]", begin, end) >= 0 or text.find(b"[", begin, end) >= 0:
        # The two brackets differ in these bits, and nothing else in numbers is so.
        places = np.flatnonzero(characters | 6 == ord("[") | 6)
    if len(places) > _FEW:
        return text[begin:end].translate(None, _PARTS_OF_NUMBERS)
    commas = characters == ord(",")
    return b"".join(
        b"," * np.count_nonzero(commas[before + 1 : after]) + text[begin + after : min(begin + after + 1, end)]
        for before, after in pairwise((-1, *places.tolist(), end - begin))
    )


_FEW = 100
_PARTS_OF_NUMBERS = b"0123456789+-.eE \t\n\r"


def _shape(marks: bytes) -> Shape | None:
    """Return the shape of nested lists of which brackets and commas are left, or None where they are irregular.

    An empty list leaves the same as one of one item; which of the two it was shows in the count of numbers.
    """
    depth = len(marks) - len(marks.lstrip(b"["))
    if depth > _MAX_NESTING:
        return None
    regular = b""
    shape: Shape = ()
    for level in range(depth, 0, -1):
        closed = b"]" * (depth - level + 1)
        size = marks.find(closed) + len(closed) - level  # what stands between the first list's brackets, and a comma
        count, rest = divmod(size, len(regular) + 1)
        if rest or count < 1:
            return None
        regular = b"".join((b"[", (regular + b",") * (count - 1), regular, b"]"))
        shape = (count, *shape)
    return shape if regular == marks else None


def _fill(flat: Array, text: bytes, pieces: Iterable[Piece], marks: Iterable[bytes], kind: Kind) -> bool:
    """Put the numbers of the pieces into an array, one after the other. Return whether all went in and filled it.

    A piece is JSON once the lists in which it begins and ends are opened and closed; the marks are its brackets.
    """
    parser, view = simdjson.Parser(), memoryview(text)
    position = depth = 0
    for (begin, end), brackets in zip(pieces, marks, strict=True):
        after = depth + brackets.count(b"[") - brackets.count(b"]")
        try:
            array = parser.parse(b"".join((b"[" * depth, view[begin:end], b"]" * after)))
            assert isinstance(array, simdjson.Array)
            numbers = np.frombuffer(array.as_buffer(of_type=kind), flat.dtype)
            del array  # the parser reads nothing else while it lives
            flat[position : position + len(numbers)] = numbers
        except (ValueError, TypeError, RuntimeError):  # no JSON; not of the kind; too wide, or more numbers than room
            return False
        position += len(numbers)
        depth = after
    return position == flat.size


def may_have_negative_zero(text: bytes) -> bool:
    """Whether `-0` stands in a JSON text, or in a string of it; a regular expression takes 20 times as long."""
    characters = np.frombuffer(text + b"]]", np.uint8)
    places = np.flatnonzero((characters[:-2] == ord("-")) & (characters[1:-1] == ord("0")))
    return bool((~_GOES_ON[characters[places + 2]] & ~_EXPONENT[characters[places - 1]]).any())


def _among(characters: bytes) -> Array:
    return np.isin(np.arange(256), list(characters))


_GOES_ON = _among(b"0123456789.eE")
_EXPONENT = _among(b"eE")
