"""The members of a reply as JSON. Floating numbers have the fewest digits that read back as the same."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
import orjson
import pybase64

from app.wire.reply import Array, Kept, Members, Tensor, raw_bytes, type_of


def write(members: Members, encoding: str) -> bytes:
    """Return the reply; `encoding` says how tensors' data are written."""
    return orjson.dumps(_written(members, _ENCODINGS[encoding]), option=orjson.OPT_SERIALIZE_NUMPY)


def _written(member: Any, data: Callable[[Array], Any]) -> Any:
    if isinstance(member, np.ndarray):
        return {**type_of(member), "data": data(member)}
    if isinstance(member, dict):
        return {name: _written(value, data) for name, value in member.items()}
    if isinstance(member, Kept):
        return orjson.Fragment(member.written(orjson.dumps))
    if isinstance(member, Tensor):
        return {**type_of(member.array), **member.members, "data": data(member.array)}
    return member


def _base64(array: Array) -> str:
    return pybase64.b64encode_as_string(raw_bytes(array))


_SMALL = 1000
"""Elements up to which an array is written sooner than it is looked at whether all of it is finite."""


def _nested(array: Array) -> Any:
    rows = np.ascontiguousarray(array)  # () becomes (1,)
    if array.size <= _SMALL:
        text = _dumped(rows)
        text = _with_words(rows) if b"null" in text else text
        return orjson.Fragment(text if array.ndim else text[1:-1])
    finite = array.dtype.kind != "f" or np.isfinite(rows).all()
    return rows if finite else orjson.Fragment(_with_words(rows))


def _with_words(array: Array) -> bytes:
    """Return the JSON of an array, strings in place of what is not finite. orjson writes null there."""
    values = array[~np.isfinite(array)]
    words = np.where(np.isnan(values), 0, np.where(values > 0, 1, 2))
    pieces = _dumped(array).split(b"null")
    return b"".join(chain.from_iterable(zip(pieces, [*_WORDS[words].tolist(), b""], strict=True)))


_WORDS = np.array([b'"NaN"', b'"Infinity"', b'"-Infinity"'], object)


def _dumped(array: Array) -> bytes:
    return orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)


_ENCODINGS: dict[str, Callable[[Array], Any]] = {"json": _nested, "base64": _base64}
ENCODINGS = tuple(_ENCODINGS)
