"""Removes long values (lists of numbers, and strings such as base64) from a JSON text before it is parsed.

A placeholder replaces each value. `app.wire.decode` decodes the values directly from the text when their dtypes are
known. This module finds the values by quotes, colons and brackets and reports no errors: the decoder of a value
validates it. `app.wire.json.body` calls it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from secrets import token_hex

import numpy as np

from app.wire.json.numbers import READS, Numbers, Text

LONG_LIST = LONG_STRING = 2**13
"""Minimum bytes of a value that is removed from the text. For shorter values it takes more time than it saves."""

_PLACEHOLDER = token_hex(16)
"""Prefix of all placeholders. It is random, so a client's string cannot be equal to one."""

_BLOCK = 2**18


@dataclass(frozen=True, slots=True)
class Packed:
    """A long string in a JSON text, probably base64: text[begin:end], without its quotes."""

    text: Text
    begin: int
    end: int

    @property
    def characters(self) -> memoryview:
        """The bytes of the string, without a copy."""
        return memoryview(self.text)[self.begin : self.end]


Long = Numbers | Packed
Positions = np.ndarray[tuple[int], np.dtype[np.intp]]


def cut(text: Text) -> tuple[bytes, Mapping[str, Long]]:
    """Return the text with a placeholder (a string) for each long value, and the values by placeholder.

    A text with a backslash is returned unchanged, because an escaped quote does not end a string.
    """
    quotes = _quotes(text) if len(text) >= min(LONG_LIST, LONG_STRING) else None
    if quotes is None:
        return bytes(text), {}
    pieces: list[bytes | memoryview] = []
    found: dict[str, Long] = {}
    position = 0
    for begin, end, value in _values(text, quotes):
        placeholder = f"{_PLACEHOLDER}{len(found)}"
        found[placeholder] = value
        pieces += [text[position:begin], b'"%b"' % placeholder.encode()]
        position = end
    return b"".join((*pieces, text[position:])), found


def _values(text: Text, quotes: Positions) -> Iterator[tuple[int, int, Long]]:
    """Yield the start, the end and the value of each long value in the text. `quotes` are the positions of quotes."""
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


def _quotes(text: Text) -> Positions | None:
    """Return the positions of all quotes, or None if the text contains a backslash.

    The search goes block by block, so that it allocates little memory and finds each block in the processor's cache.
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
    """Return the list after a colon at `begin`, up to the last bracket before `end` or before the first brace.

    There is no string between `begin` and `end`. The decoder of the list checks that its brackets match.
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
"""Bytes before `end` that are searched first. In most texts they contain the last bracket of the list."""
