"""Long lists of numbers in a JSON text, read into arrays without a Python object for each number.

`app.wire.json.long_values` finds them, `app.wire.decode` reads them. simdjson reads the numbers, to the nearest double
and as strictly as JSON is; whether the lists nest regularly is looked up in their brackets and commas. What is not as
simple as that is left to the way that every list can go: this one refuses nothing.
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
"""Bytes that are read at a time: the text, simdjson's tape and the numbers stay in the cache."""

_MAX_NESTING = 64
Kind = Literal["d", "i"]
Text = bytes | memoryview
Array = np.ndarray[Any, Any]

_KINDS: dict[Category, tuple[Kind, type]] = {Category.FLOAT: ("d", np.float64), Category.INTEGER: ("i", np.int64)}


@dataclass(frozen=True, slots=True)
class Numbers:
    """A long list in a JSON text that may hold nothing but numbers and lists of them: text[begin:end]."""

    text: Text
    begin: int
    end: int

    def read(self, dtype: DType) -> Array | None:
        """Return the numbers in the shape in which they nest, or None where it takes a closer look.

        They are float64 for floating dtypes and int64 for integers.
        """
        if dtype.category not in _KINDS:
            return None
        kind, wide = _KINDS[dtype.category]
        gathered = _Gathered(self.end - self.begin, wide)
        try:
            gathered.take(_parsed(self.text[self.begin : self.end], kind))
        except _NotPlain:
            return None
        shape = _shape(b",".join(gathered.marks))
        if shape is None or prod(shape) != gathered.count:
            return None
        return gathered.numbers().reshape(shape)

    def lists(self, *, signed: bool) -> Any:
        """Return the list as Python objects, if `signed` with floats in place of `-0`.

        Raises ValueError where it is not JSON, or more lists than are made of one body.
        """
        text = bytes(self.text[self.begin : self.end])
        if text.count(b"[") > MAX_CONTAINERS:
            raise ValueError(MAX_CONTAINERS)
        return orjson.loads(NEGATIVE_ZERO.sub(b"-0.0", text) if signed else text)


class _Piece(NamedTuple):
    """A part of a list: its numbers, the brackets and commas around and between them, and its size in bytes."""

    numbers: Array
    marks: bytes
    size: int


class _Gathered:
    """The numbers of pieces behind each other, and their marks. Each piece is copied while it is in the cache.

    How many come is not known: there is room for as many as a text of `size` bytes has that goes on as it began.
    """

    def __init__(self, size: int, dtype: type) -> None:
        self.marks: list[bytes] = []
        self.count = 0
        self._size, self._read = size, 0
        self._room: Array = np.empty(0, dtype)

    def take(self, pieces: Iterable[_Piece]) -> None:
        """Append the pieces."""
        for numbers, marks, size in pieces:
            self.marks.append(marks)
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
    """The text is not a list of plain numbers, or its commas are too far apart."""


def _parsed(text: Text, kind: Kind) -> Iterator[_Piece]:
    """Yield the numbers of a list, piece by piece. Raises _NotPlain.

    The nesting is not checked here: `_shape` checks the marks of all pieces.
    """
    parser = simdjson.Parser()
    for begin, end in pairwise(_cuts(text)):
        yield _parsed_piece(parser, text[begin + 1 : end], kind)


def _cuts(text: Text) -> Iterator[int]:
    """Yield the places of commas about a piece apart, and the ends. Raises _NotPlain where there is none so long."""
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
"""Bytes in which a comma is looked for first."""


def _parsed_piece(parser: simdjson.Parser, text: Text, kind: Kind) -> _Piece:
    """Return the numbers of a piece. Raises _NotPlain.

    It is JSON once the lists in which it begins and ends are opened and closed.
    """
    piece = b"".join((b"[", text, b"]"))
    flat = piece.find(b"]", 0, -1) < 0 and piece.find(b"[", 1) < 0
    marks = b"" if flat else _marks(piece[1:-1])
    if not flat:
        opened, closed = _outside(marks)
        piece = b"".join((b"[" * opened, piece, b"]" * closed))
    try:
        array = parser.parse(piece)
        assert isinstance(array, simdjson.Array)
        numbers: Array = np.frombuffer(array.as_buffer(of_type=kind), _WIDE[kind])
        del array  # the parser reads nothing else while it lives
    except (ValueError, TypeError, RuntimeError):  # no JSON; not of the kind; too wide
        raise _NotPlain from None
    if flat:
        marks = b"," * (len(numbers) - 1)
    if kind == "d" and not numbers.all() and may_have_negative_zero(piece):
        raise _NotPlain
    return _Piece(numbers, marks, len(text))


_WIDE: dict[Kind, type] = dict(_KINDS.values())


def _outside(marks: bytes) -> tuple[int, int]:
    """Return how many lists are open before a piece with these marks at least, and how many are behind it."""
    characters = np.frombuffer(marks, np.uint8)
    levels = np.cumsum((characters == ord("[")).astype(np.int8) - (characters == ord("]")), dtype=np.int64)
    opened = -min(0, int(levels.min()))
    return opened, opened + int(levels[-1])


NEGATIVE_ZERO = re.compile(rb"(?<![eE])-0(?=[,\]}\s])")
"""What a parser takes for the integer 0. `1e-0` is something else."""


def _marks(text: bytes) -> bytes:
    """Return the brackets and commas of a text, as they follow each other.

    Where the lists are long, commas are counted from bracket to bracket: five times as fast as taking out the rest.
    """
    characters = np.frombuffer(text, np.uint8)
    # The two brackets differ in these bits, and nothing else in numbers is so.
    places = np.flatnonzero(characters | 6 == ord("[") | 6)
    if len(places) > _FEW:
        return text.translate(None, _PARTS_OF_NUMBERS)
    commas = characters == ord(",")
    return b"".join(
        b"," * np.count_nonzero(commas[before + 1 : after]) + text[after : after + 1]
        for before, after in pairwise((-1, *places.tolist(), len(text)))
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


def may_have_negative_zero(text: bytes) -> bool:
    """Whether `-0` stands in a JSON text, or in a string of it; a regular expression takes 20 times as long."""
    characters = np.frombuffer(text + b"]]", np.uint8)
    places = np.flatnonzero((characters[:-2] == ord("-")) & (characters[1:-1] == ord("0")))
    return bool((~_GOES_ON[characters[places + 2]] & ~_EXPONENT[characters[places - 1]]).any())


def _among(characters: bytes) -> Array:
    return np.isin(np.arange(256), list(characters))


_GOES_ON = _among(b"0123456789.eE")
_EXPONENT = _among(b"eE")
