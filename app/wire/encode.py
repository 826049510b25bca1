"""Arrays to the tensors of a reply. Floating numbers are printed with the fewest digits that read back as the same."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import orjson

from engine.types import DTYPES

Array = np.ndarray[Any, Any]

_NAMES = {dtype.numpy: name for name, dtype in DTYPES.items()}
"""Names by NumPy dtype; looking one up is ten times as fast as NumPy's own `name`."""


def reply(members: Mapping[str, Any]) -> bytes:
    """Return the reply as JSON; tensors in it are what `tensors` returned."""
    return orjson.dumps(members, option=orjson.OPT_SERIALIZE_NUMPY)


def tensors(results: Mapping[str, Any], encoding: str) -> dict[str, Any]:
    """Return what is to be written of results: arrays, None, and objects of them, by name."""
    return {
        name: tensors(value, encoding)
        if isinstance(value, dict)
        else value
        if value is None
        else tensor(value, encoding)
        for name, value in results.items()
    }


def tensor(array: Array, encoding: str) -> dict[str, Any]:
    """Return a tensor's members, its data nested as its shape says or base64 of its bytes."""
    return {"dtype": _NAMES[array.dtype], "shape": array.shape, "data": _ENCODINGS[encoding](array)}


def _base64(array: Array) -> str:
    little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    return binascii.b2a_base64(little.tobytes(), newline=False).decode("ascii")


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
