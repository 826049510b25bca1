"""What makes a JSON text long is cut out of it before it is parsed: lists of numbers, and base64.

`app.wire.json_body` calls it. A mark stays in place of each value; the values are read straight from the text, when
their dtypes are known. Cutting refuses nothing: it looks at quotes and at what surrounds a value, and whoever reads the
value sees whether it is what it seemed to be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from secrets import token_hex

import numpy as np

from app.wire.numbers import READS, Numbers

LONG_LIST = LONG_STRING = 2**13
"""Bytes from which it pays to cut a value out."""

_MARK = token_hex(16)
"""What a mark begins with. No client knows it, so none can send one."""

_BLOCK = 2**18


@dataclass(frozen=True, slots=True)
class Packed:
    """A long string in a JSON text, which may be base64: text[begin:end], without its quotes."""

    text: bytes
    begin: int
    end: int

    @property
    def characters(self) -> memoryview:
        """The string's bytes in the text, which are not copied."""
        return memoryview(self.text)[self.begin : self.end]


Long = Numbers | Packed


def cut(text: bytes) -> tuple[bytes, Mapping[str, Long]]:
    """Return the text with a mark, a string, in place of each long value of a member; the values by mark.

    A backslash could hide where a string ends, so texts with one stay as they are.
    """
    if len(text) < min(LONG_LIST, LONG_STRING) or b"\\" in text:
        return text, {}
    kept: list[bytes] = []
    found: dict[str, Long] = {}
    position = 0
    for begin, end, value in _values(text):
        mark = f"{_MARK}{len(found)}"
        found[mark] = value
        kept += [text[position:begin], b'"%b"' % mark.encode()]
        position = end
    return b"".join((*kept, text[position:])), found


def _values(text: bytes) -> Iterator[tuple[int, int, Long]]:
    """Yield the long values, each with the places where it begins and ends in the text."""
    quotes = np.append(_quotes(text), len(text))
    lengths = np.diff(quotes)
    long = lengths > LONG_LIST
    long[::2] = lengths[::2] > LONG_STRING
    for index in np.flatnonzero(long).tolist():
        begin, end = int(quotes[index]), int(quotes[index + 1])
        if index % 2 == 0:
            yield begin, end + 1, Packed(text, begin + 1, end)
        elif READS:
            numbers = _list_between(text, begin + 1, end)
            if numbers is not None:
                yield numbers.begin, numbers.end, numbers


def _quotes(text: bytes) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Return the places of quotes; block by block, so that nothing large is allocated."""
    blocks = range(0, len(text), _BLOCK)
    characters = np.frombuffer(text, np.uint8)
    return np.concatenate([np.flatnonzero(characters[at : at + _BLOCK] == ord('"')) + at for at in blocks])


_LIST_FOLLOWS = re.compile(rb"\s*:\s*(?=\[)")


def _list_between(text: bytes, begin: int, end: int) -> Numbers | None:
    """Return the list that follows a colon at `begin`, where no string stands before `end`: up to its last bracket.

    Whether the brackets before the last one belong together is seen when it is read.
    """
    opening = _LIST_FOLLOWS.match(text, begin, end)
    if opening is None:
        return None
    begin = opening.end()
    brace = text.find(b"}", begin, end)
    last = text.rfind(b"]", begin, end if brace < 0 else brace)
    return None if last < 0 else Numbers(text, begin, last + 1)
