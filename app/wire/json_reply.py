"""The members of a reply as JSON. Floating numbers have the fewest digits that read back as the same."""

from __future__ import annotations

import binascii
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson

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
    return binascii.b2a_base64(raw_bytes(array), newline=False).decode("ascii")


def _nested(array: Array) -> Any:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return _with_words(array)
    if array.ndim == 0:
        return orjson.Fragment(_flat(array)[1:-1])
    return np.ascontiguousarray(array)


def _flat(array: Array) -> bytes:
    return orjson.dumps(array.ravel(), option=orjson.OPT_SERIALIZE_NUMPY)


def _with_words(array: Array) -> Any:
    """Return nested lists in which strings stand for what is not finite; orjson alone would write null."""
    values = np.array(orjson.loads(_flat(array)), dtype=object).reshape(array.shape)
    values[np.isnan(array)] = "NaN"
    values[np.isposinf(array)] = "Infinity"
    values[np.isneginf(array)] = "-Infinity"
    return values.tolist()


_ENCODINGS: dict[str, Callable[[Array], Any]] = {"json": _nested, "base64": _base64}
ENCODINGS = tuple(_ENCODINGS)
