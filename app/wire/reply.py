"""What the members of a reply may be, whichever codec writes them. Plans make them, the codecs write them.

An array becomes a tensor, one with further members is a `ReplyTensor`; an object of members may stand wherever a member
may; `CachedText` is data that stays the same from reply to reply; anything else is data as JSON knows it and stands as
it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import orjson

from engine import DTYPES, DType, Shape

Array = np.ndarray[Any, Any]
Members = Mapping[str, Any]
Piece = bytes | memoryview
"""A part of a reply as it is sent."""

_NAMES = {dtype.numpy: name for name, dtype in DTYPES.items()}
"""Names by NumPy dtype; looking one up is ten times as fast as NumPy's own `name`."""


@dataclass(frozen=True, slots=True)
class ReplyTensor:
    """A tensor with members beside `dtype`, `shape` and `data`."""

    array: Array
    members: Mapping[str, Any]


class CachedText:
    """Data that every reply of a plan has alike. Each codec writes it once."""

    def __init__(self, data: Any) -> None:
        self._data = data
        self._written: dict[Callable[[Any], bytes], bytes] = {}

    def written(self, write: Callable[[Any], bytes]) -> bytes:
        """Return the data as `write` writes it."""
        found = self._written.get(write)
        if found is None:
            found = self._written[write] = write(self._data)
        return found


class Size(NamedTuple):
    """The bytes of a part of a reply, at most, and the seconds that writing it takes."""

    bytes: int
    seconds: float


Measure = Callable[[Shape, DType], Size]
"""The size of a tensor's data in a format, from its shape and dtype."""

_TENSOR = Size(48, 4e-6)
"""The size of a tensor without its name, its shape and its data."""


class Results:
    """The tensors of every reply of a plan: their places, shapes and dtypes, whose sizes are measured once a format."""

    def __init__(self, types: Iterable[tuple[tuple[str, ...], Shape, DType]] = ()) -> None:
        self._types = tuple(types)
        self._sizes: dict[Measure, Size] = {}

    def size(self, measure: Measure) -> Size:
        """Return the size of all of them."""
        found = self._sizes.get(measure)
        if found is None:
            found = self._sizes[measure] = self._measured(measure)
        return found

    def _measured(self, measure: Measure) -> Size:
        total, seconds = 0, 0.0
        for place, shape, dtype in self._types:
            data = measure(shape, dtype)
            total += data.bytes + _TENSOR.bytes + len(orjson.dumps(place[-1])) + len(orjson.dumps(shape))
            seconds += data.seconds + _TENSOR.seconds
        return Size(total, seconds)


def type_of(dtype: np.dtype[Any], shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the members of a tensor that tell its type."""
    return {"dtype": _NAMES[dtype], "shape": shape}


def raw_bytes(array: Array) -> memoryview:
    """Return an array's bytes, little-endian and row by row. Copies only an array that is not so already."""
    flat = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1)
    return flat.view(np.uint8).data
