"""Decodes long lists of numbers in a JSON text to arrays, without a Python object for each number.

simdjson parses the numbers. The shape of nested lists is computed from their brackets and commas. A list that is not a
regular nesting of plain numbers is left to `app.wire.decode`, which decodes every list and reports its faults; this
module reports none. `app.wire.json.long_values` finds the lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any, Literal, NamedTuple

import numpy as np
import orjson

from app.wire.document import MAX_CONTAINERS
from engine import Category, DType, Shape

try:
    import simdjson
except ModuleNotFoundError:  # there are no wheels for Python 3.14
    READS = False
else:
    READS = True

_PIECE = 2**18
"""Bytes of a piece. Its text, simdjson's tape and its numbers fit in the processor's cache."""

_MAX_NESTING = 64
Kind = Literal["d", "i"]
Text = bytes | memoryview
Array = np.ndarray[Any, Any]

_KINDS: dict[Category, tuple[Kind, type]] = {Category.FLOAT: ("d", np.float64), Category.INTEGER: ("i", np.int64)}


@dataclass(frozen=True, slots=True)
class Numbers:
    """A long list in a JSON text, probably of numbers and lists of numbers only: text[begin:end]."""

    text: Text
    begin: int
    end: int

    def read(self, dtype: DType) -> Array | None:
        """Return the numbers in the shape of the nested lists: float64 for floating dtypes, int64 for integer dtypes.

        Return None for all other dtypes, and for a list that is not a regular nesting of plain numbers.
        """
        if dtype.category not in _KINDS:
            return None
        kind, wide = _KINDS[dtype.category]
        gathered = _Gathered(self.end - self.begin, wide)
        try:
            gathered.take(_parsed(self.text[self.begin : self.end], kind))
        except _NotPlain:
            return None
        shape = _shape(b",".join(gathered.structure))
        if shape is None or prod(shape) != gathered.count:
            return None
        return gathered.numbers().reshape(shape)

    def lists(self, *, signed: bool) -> Any:
        """Return the list as Python objects. With `signed`, each `-0` is the float -0.0.

        Raises ValueError for invalid JSON and for more than MAX_CONTAINERS lists.
        """
        text = bytes(self.text[self.begin : self.end])
        if text.count(b"[") > MAX_CONTAINERS:
            raise ValueError(MAX_CONTAINERS)
        return orjson.loads(NEGATIVE_ZERO.sub(b"-0.0", text) if signed else text)


class _Piece(NamedTuple):
    """A part of a list: its numbers, its brackets and commas in order, and the bytes of its text."""

    numbers: Array
    structure: bytes
    size: int


class _Gathered:
    """Concatenates the numbers of pieces. Each piece is copied while it is in the processor's cache.

    The array grows as needed. Its capacity is an estimate of the total count, from `size` (the bytes of the whole text)
    and the numbers per byte so far.
    """

    def __init__(self, size: int, dtype: type) -> None:
        self.structure: list[bytes] = []
        self.count = 0
        self._size, self._read = size, 0
        self._room: Array = np.empty(0, dtype)

    def take(self, pieces: Iterable[_Piece]) -> None:
        """Append the pieces."""
        for numbers, structure, size in pieces:
            self.structure.append(structure)
            self._read += size
            end = self.count + len(numbers)
            if end > len(self._room):
                self._grow(end)
            self._room[self.count : end] = numbers
            self.count = end

    def _grow(self, least: int) -> None:
        room = np.empty(max(least, int(1.02 * least * self._size / self._read)), self._room.dtype)
        room[: self.count] = self._room[: self.count]
        self._room = room

    def numbers(self) -> Array:
        """Return the numbers."""
        return self._room[: self.count]


class _NotPlain(Exception):
    """The text is not a list of plain numbers, or a piece of it contains no comma."""


def _parsed(text: Text, kind: Kind) -> Iterator[_Piece]:
    """Yield the numbers of a list, piece by piece. Raises _NotPlain.

    `_shape` checks the nesting of the lists after the last piece.
    """
    parser = simdjson.Parser()
    for begin, end in pairwise(_cuts(text)):
        yield _parsed_piece(parser, text[begin + 1 : end], kind)


def _cuts(text: Text) -> Iterator[int]:
    """Yield the ends of the pieces: -1, the positions of commas at most _PIECE bytes apart, and the length of the text.

    Raises _NotPlain if _PIECE bytes contain no comma.
    """
    cut = -1
    yield cut
    while len(text) - cut > _PIECE:
        end = cut + _PIECE
        for begin in (max(cut + 1, end - _NEAR), cut + 1):
            comma = bytes(text[begin:end]).rfind(b",")
            if comma >= 0:
                break
        else:
            raise _NotPlain
        cut = begin + comma
        yield cut
    yield len(text)


_NEAR = 2**10
"""Bytes at the end of a piece that are searched for a comma first."""


def _parsed_piece(parser: simdjson.Parser, text: Text, kind: Kind) -> _Piece:
    """Return the numbers of a piece. Raises _NotPlain.

    A piece may begin and end inside nested lists. Brackets are added to it until it is valid JSON.
    """
    piece = b"".join((b"[", text, b"]"))
    flat = piece.find(b"]", 0, -1) < 0 and piece.find(b"[", 1) < 0
    structure = b"" if flat else _structure(piece[1:-1])
    if not flat:
        opened, closed = _outside(structure)
        piece = b"".join((b"[" * opened, piece, b"]" * closed))
    try:
        array = parser.parse(piece)
        assert isinstance(array, simdjson.Array)
        numbers: Array = np.frombuffer(array.as_buffer(of_type=kind), _WIDE[kind])
        del array  # simdjson parses no other text while an array of it exists
    except (ValueError, TypeError, RuntimeError):  # invalid JSON; wrong type; integer out of range
        raise _NotPlain from None
    if flat:
        structure = b"," * (len(numbers) - 1)
    if kind == "d" and not numbers.all() and NEGATIVE_ZERO.search(piece):
        raise _NotPlain
    return _Piece(numbers, structure, len(text))


_WIDE: dict[Kind, type] = dict(_KINDS.values())


def _outside(structure: bytes) -> tuple[int, int]:
    """Return the minimum number of lists that are open before a piece, and the number that are open after it."""
    characters = np.frombuffer(structure, np.uint8)
    levels = np.cumsum((characters == ord("[")).astype(np.int8) - (characters == ord("]")), dtype=np.int64)
    opened = -min(0, int(levels.min()))
    return opened, opened + int(levels[-1])


NEGATIVE_ZERO = re.compile(rb"-0(?=[,\]}\s])(?<![eE]-0)")
"""The number `-0`, which a parser reads as the integer 0; `1e-0` is another number.

The pattern begins with its literal characters: `re` then searches twenty times as fast.
"""


def _structure(text: bytes) -> bytes:
    """Return the brackets and commas of a text in order.

    In a text with few brackets, the commas between brackets are counted. This is five times as fast as the removal of
    all other characters.
    """
    characters = np.frombuffer(text, np.uint8)
    # The codes of the two brackets differ only in the bits of 6. No other character of numbers is equal to them then.
    positions = np.flatnonzero(characters | 6 == ord("[") | 6)
    if len(positions) > _FEW:
        return text.translate(None, _PARTS_OF_NUMBERS)
    commas = characters == ord(",")
    return b"".join(
        b"," * np.count_nonzero(commas[before + 1 : after]) + text[after : after + 1]
        for before, after in pairwise((-1, *positions.tolist(), len(text)))
    )


_FEW = 100
_PARTS_OF_NUMBERS = b"0123456789+-.eE \t\n\r"


def _shape(structure: bytes) -> Shape | None:
    """Return the shape of nested lists from their brackets and commas, or None if the lists are ragged.

    An empty list has the same brackets as a list of one number. The caller compares the count of numbers.
    """
    depth = len(structure) - len(structure.lstrip(b"["))
    if depth > _MAX_NESTING:
        return None
    regular = b""
    shape: Shape = ()
    for level in range(depth, 0, -1):
        closed = b"]" * (depth - level + 1)
        size = structure.find(closed) + len(closed) - level  # bytes between the brackets of the first list, plus one
        count, rest = divmod(size, len(regular) + 1)
        if rest or count < 1:
            return None
        regular = b"".join((b"[", (regular + b",") * (count - 1), regular, b"]"))
        shape = (count, *shape)
    return shape if regular == structure else None
