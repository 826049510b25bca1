"""Encodes replies as JSON. A floating number has the fewest digits that decode to the same number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import accumulate, chain
from operator import mul
from secrets import token_hex
from typing import Any

import numpy as np
import orjson
import pybase64

from app.wire.reply import Array, CachedText, Measure, Members, Piece, ReplyTensor, Size, raw_bytes, type_of
from engine import DType, Shape, numel

LONG = 2**18
"""Minimum bytes of an array that is encoded in several pieces."""

_PIECE = 2**13
"""Numbers in a piece. The numbers and their text fit in the processor's cache."""

_PLACEHOLDER = b'"%b"' % token_hex(16).encode()
"""Placeholder of a long array in the text. It is random, so a client's string cannot be equal to it."""


def pieces(members: Members, encoding: str) -> Iterable[Piece]:
    """Return the encoded reply; in several pieces if it has long arrays.

    `encoding` is the encoding of tensors' data: "json" (nested lists of numbers) or "base64".
    """
    data, texts = _ENCODINGS[encoding]
    long: list[Array] = []

    def text_or_placeholder(array: Array) -> bytes:
        if array.nbytes < LONG:
            return data(array)
        long.append(np.ascontiguousarray(array))
        return _PLACEHOLDER

    text = orjson.dumps(_written(members, text_or_placeholder), option=orjson.OPT_SERIALIZE_NUMPY)
    return _filled(text.split(_PLACEHOLDER), long, texts) if long else (text,)


def encoded(data: Any) -> bytes:
    """Return plain data as JSON."""
    return orjson.dumps(data)


def _filled(
    between: Iterable[bytes], long: Iterable[Array], texts: Callable[[Array], Iterable[Piece]]
) -> Iterator[Piece]:
    """Yield the texts `between` long arrays and the texts of the arrays, alternately."""
    first, *others = between
    yield first
    for array, other in zip(long, others, strict=True):
        yield from texts(array)
        yield other


def _written(member: Any, data: Callable[[Array], bytes]) -> Any:
    if isinstance(member, np.ndarray):
        return orjson.Fragment(b"".join((_beginning(member.dtype, member.shape), data(member), b"}")))
    if isinstance(member, dict):
        return {name: _written(value, data) for name, value in member.items()}
    if isinstance(member, CachedText):
        return orjson.Fragment(member.written(encoded))
    if isinstance(member, ReplyTensor):
        return {
            **type_of(member.array.dtype, member.array.shape),
            **member.members,
            "data": orjson.Fragment(data(member.array)),
        }
    return member


@lru_cache(512)
def _beginning(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """Return the text of a tensor from its opening brace to its data."""
    return orjson.dumps(type_of(dtype, shape))[:-1] + b',"data":'


def _base64(array: Array) -> bytes:
    return b'"%b"' % pybase64.b64encode(raw_bytes(array))


def _base64_texts(array: Array) -> Iterator[Piece]:
    raw = raw_bytes(array)
    step = 3 * 2**16  # base64 encodes three bytes as four characters
    yield b'"'
    for begin in range(0, len(raw), step):
        yield pybase64.b64encode(raw[begin : begin + step])
    yield b'"'


_SMALL = 1000
"""Maximum number of elements for which it is faster to encode first and then to look for null."""


def _nested(array: Array) -> bytes:
    rows = array if array.ndim and array.flags.c_contiguous else np.ascontiguousarray(array)  # () becomes (1,)
    if array.size <= _SMALL:
        text = _dumped(rows)
        text = _with_words(rows) if b"null" in text else text
        return text if array.ndim else text[1:-1]
    return _dumped(rows) if _is_finite(rows) else _with_words(rows)


def _nested_texts(array: Array) -> Iterator[Piece]:
    yield b"["
    yield from _rows(array)
    yield b"]"


def _rows(array: Array) -> Iterator[Piece]:
    """Yield the text of an array's rows: several short rows, or a part of a long row, in a piece."""
    row = array[0].size
    count = max(1, _PIECE // row)
    for begin in range(0, len(array), count):
        if begin:
            yield b","
        piece = array[begin : begin + count]
        if row > _PIECE:
            yield from chain((b"[",), _rows(piece[0]), (b"]",))
        else:
            yield memoryview(_dumped(piece) if _is_finite(piece) else _with_words(piece))[1:-1]


def _is_finite(array: Array) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def _with_words(array: Array) -> bytes:
    """Return the JSON of an array with strings for NaN and infinities. orjson encodes them as null."""
    values = array[~np.isfinite(array)]
    words = np.where(np.isnan(values), 0, np.where(values > 0, 1, 2))
    pieces = _dumped(array).split(b"null")
    return b"".join(chain.from_iterable(zip(pieces, [*_WORDS[words].tolist(), b""], strict=True)))


_WORDS = np.array([b'"NaN"', b'"Infinity"', b'"-Infinity"'], object)


def _dumped(array: Array) -> bytes:
    return orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)


_WIDTHS: Mapping[str, Size] = {
    "bool": Size(6, 5e-9),
    "uint8": Size(4, 7e-9),
    "int8": Size(5, 9e-9),
    "int16": Size(7, 10e-9),
    "int32": Size(12, 14e-9),
    "int64": Size(21, 20e-9),
    "float16": Size(16, 30e-9),
    "float32": Size(16, 28e-9),
    "float64": Size(25, 35e-9),
    "complex64": Size(35, 80e-9),
    "complex128": Size(53, 100e-9),
}
"""Maximum bytes of an encoded number with its comma, and seconds to encode it, by dtype.

The bytes of complex numbers include their brackets.
"""


def nested_size(shape: Shape, dtype: DType) -> Size:
    """Return the size of an array as nested lists of numbers.

    A list takes two brackets and a comma. It takes 17 ns, and 8 ns for each dimension; an empty list takes 100 ns.
    """
    size = numel(shape)
    lists = sum(accumulate(shape[:-1], mul, initial=1)) if shape else 0
    list_s = 17e-9 + 8e-9 * len(shape) if size else 100e-9
    each = _WIDTHS[dtype.name]
    return Size(each.bytes * size + 3 * lists, each.seconds * size + list_s * lists)


def base64_size(shape: Shape, dtype: DType) -> Size:
    """Return the size of an array in base64."""
    size = numel(shape) * dtype.itemsize
    return Size((size + 2) // 3 * 4 + 2, 0.25e-9 * size)


MEASURES: Mapping[str, Measure] = {"json": nested_size, "base64": base64_size}
"""Functions that return the size of an encoded array, by encoding."""

_ENCODINGS: dict[str, tuple[Callable[[Array], bytes], Callable[[Array], Iterable[Piece]]]] = {
    "json": (_nested, _nested_texts),
    "base64": (_base64, _base64_texts),
}
"""Functions that encode an array as a whole and in pieces, by encoding."""
