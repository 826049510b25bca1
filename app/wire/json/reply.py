"""The members of a reply as JSON. Floating numbers have the fewest digits that read back as the same."""

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
"""Bytes of an array from which on its text is made piece by piece."""

_PIECE = 2**13
"""Numbers whose text is made at once: both stay in the cache."""

_MARK = b'"%b"' % token_hex(16).encode()
"""What stands in the text in place of a long array, until it is cut there. No client knows it."""


def pieces(members: Members, encoding: str) -> Iterable[Piece]:
    """Return the reply, in pieces where it has long arrays; `encoding` says how tensors' data are written."""
    data, texts = _ENCODINGS[encoding]
    long: list[Array] = []

    def marked(array: Array) -> bytes:
        if array.nbytes < LONG:
            return data(array)
        long.append(np.ascontiguousarray(array))
        return _MARK

    text = orjson.dumps(_written(members, marked), option=orjson.OPT_SERIALIZE_NUMPY)
    return _filled(text.split(_MARK), long, texts) if long else (text,)


def kept(data: Any) -> bytes:
    """Return data that stays the same from reply to reply."""
    return orjson.dumps(data)


def _filled(
    between: Iterable[bytes], long: Iterable[Array], texts: Callable[[Array], Iterable[Piece]]
) -> Iterator[Piece]:
    """Yield what stands between long arrays, and theirs."""
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
        return orjson.Fragment(member.written(kept))
    if isinstance(member, ReplyTensor):
        return {
            **type_of(member.array.dtype, member.array.shape),
            **member.members,
            "data": orjson.Fragment(data(member.array)),
        }
    return member


@lru_cache(512)
def _beginning(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """Return the text of a tensor up to its data."""
    return orjson.dumps(type_of(dtype, shape))[:-1] + b',"data":'


def _base64(array: Array) -> bytes:
    return b'"%b"' % pybase64.b64encode(raw_bytes(array))


def _base64_texts(array: Array) -> Iterator[Piece]:
    raw = raw_bytes(array)
    step = 3 * 2**16  # three bytes are four characters
    yield b'"'
    for begin in range(0, len(raw), step):
        yield pybase64.b64encode(raw[begin : begin + step])
    yield b'"'


_SMALL = 1000
"""Elements up to which an array is written sooner than it is looked at whether all of it is finite."""


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
    """Yield the rows of an array: of so many at once, or of so much of one, as stays in the cache."""
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
    """Return the JSON of an array, strings in place of what is not finite. orjson writes null there."""
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
"""The longest number of each dtype with a comma, and the seconds to write one; complex ones with their brackets."""


def nested_size(shape: Shape, dtype: DType) -> Size:
    """Return the size of an array as nested numbers.

    A list takes two brackets and a comma. Writing it takes 17 ns, and 8 ns for each dimension; an empty one 100.
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
"""The size of an array, by encoding."""

_ENCODINGS: dict[str, tuple[Callable[[Array], bytes], Callable[[Array], Iterable[Piece]]]] = {
    "json": (_nested, _nested_texts),
    "base64": (_base64, _base64_texts),
}
"""How an array is written at once, and how piece by piece."""
