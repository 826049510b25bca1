"""What makes a JSON text long is cut out of it before it is parsed: lists of numbers, and base64.

`app.wire.json.body` calls it. A mark stays in place of each value; the values are read straight from the text, when
their dtypes are known. Cutting refuses nothing: it looks at quotes and at what surrounds a value, and whoever reads the
value sees whether it is what it seemed to be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from secrets import token_hex

import numpy as np

from app.wire.json.numbers import READS, Numbers, Text

LONG_LIST = LONG_STRING = 2**13
"""Bytes from which it pays to cut a value out."""

_MARK = token_hex(16)
"""What a mark begins with. No client knows it, so none can send one."""

_BLOCK = 2**18


@dataclass(frozen=True, slots=True)
class Packed:
    """A long string in a JSON text, which may be base64: text[begin:end], without its quotes."""

    text: Text
    begin: int
    end: int

    @property
    def characters(self) -> memoryview:
        """The string's bytes in the text, which are not copied."""
        return memoryview(self.text)[self.begin : self.end]


Long = Numbers | Packed
Places = np.ndarray[tuple[int], np.dtype[np.intp]]


def cut(text: Text) -> tuple[bytes, Mapping[str, Long]]:
    """Return the text with a mark, a string, in place of each long value of a member; the values by mark.

    A backslash could hide where a string ends, so texts with one stay as they are.
    """
    quotes = _quotes(text) if len(text) >= min(LONG_LIST, LONG_STRING) else None
    if quotes is None:
        return bytes(text), {}
    kept: list[bytes | memoryview] = []
    found: dict[str, Long] = {}
    position = 0
    for begin, end, value in _values(text, quotes):
        mark = f"{_MARK}{len(found)}"
        found[mark] = value
        kept += [text[position:begin], b'"%b"' % mark.encode()]
        position = end
    return b"".join((*kept, text[position:])), found


def _values(text: Text, quotes: Places) -> Iterator[tuple[int, int, Long]]:
    """Yield the long values, each with the places where it begins and ends in the text."""
    lengths = np.diff(quotes, append=len(text))
    long = lengths > LONG_LIST
    long[::2] = lengths[::2] > LONG_STRING
    for index in np.flatnonzero(long).tolist():
        begin = int(quotes[index])
        end = begin + int(lengths[index])
        if index % 2 == 0:
            yield begin, end + 1, Packed(text, begin + 1, end)
        elif READS:
            numbers = _list_between(text, begin + 1, end)
            if numbers is not None:
                yield numbers.begin, numbers.end, numbers


def _quotes(text: Text) -> Places | None:
    """Return the places of quotes, None where there is a backslash.

    Block by block: nothing large is allocated, and a block is in the cache when it is searched again.
    """
    found = [np.empty(0, np.intp)]
    for begin in range(0, len(text), _BLOCK):
        block = bytes(text[begin : begin + _BLOCK])
        if b"\\" in block:
            return None
        if b'"' in block:
            found.append(np.flatnonzero(np.frombuffer(block, np.uint8) == ord('"')) + begin)
    return np.concatenate(found)


_LIST_FOLLOWS = re.compile(rb"\s*:\s*(?=\[)")


def _list_between(text: Text, begin: int, end: int) -> Numbers | None:
    """Return the list that follows a colon at `begin`, where no string stands before `end`: up to its last bracket.

    Objects may end behind it. Whether the brackets before the last one belong together is seen when it is read.
    """
    opening = _LIST_FOLLOWS.match(text, begin, end)
    if opening is None:
        return None
    begin = opening.end()
    for tail in (max(begin, end - _TAIL), begin):
        rest = bytes(text[tail:end])
        brace = rest.find(b"}")
        last = rest.rfind(b"]", 0, len(rest) if brace < 0 else brace)
        if last >= 0:
            return Numbers(text, begin, tail + last + 1)
    return None


_TAIL = 2**10
"""Bytes behind the last number of a list, at most, if it is followed by what usually follows."""
