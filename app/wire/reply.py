"""Types of the members of a reply, for all codecs. `app.evaluation` creates the members, the codecs encode them.

A member is an array (a tensor), a `ReplyTensor` (a tensor with additional members), a `CachedText` (data that is
encoded once for all replies of a plan), a mapping of members, or plain data as in JSON.
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
"""A part of an encoded reply."""

_NAMES = {dtype.numpy: name for name, dtype in DTYPES.items()}
"""Names of dtypes by NumPy dtype. A lookup is ten times as fast as NumPy's `dtype.name`."""


@dataclass(frozen=True, slots=True)
class ReplyTensor:
    """A tensor with members in addition to `dtype`, `shape` and `data`."""

    array: Array
    members: Mapping[str, Any]


class CachedText:
    """Data that is the same in all replies of a plan. Each codec encodes it once."""

    def __init__(self, data: Any) -> None:
        self._data = data
        self._written: dict[Callable[[Any], bytes], bytes] = {}

    def written(self, write: Callable[[Any], bytes]) -> bytes:
        """Return the data encoded by `write`. The first result is cached."""
        found = self._written.get(write)
        if found is None:
            found = self._written[write] = write(self._data)
        return found


class Size(NamedTuple):
    """The maximum bytes of a part of a reply, and the predicted seconds to encode it."""

    bytes: int
    seconds: float


Measure = Callable[[Shape, DType], Size]
"""Returns the size of a tensor's encoded data from its shape and dtype."""

_TENSOR = Size(48, 4e-6)
"""The size of an encoded tensor without its name, shape and data."""


class Results:
    """The path, shape and dtype of each tensor in the replies of a plan. Their total size is cached for each format."""

    def __init__(self, types: Iterable[tuple[tuple[str, ...], Shape, DType]] = ()) -> None:
        self._types = tuple(types)
        self._sizes: dict[Measure, Size] = {}

    def size(self, measure: Measure) -> Size:
        """Return the total size of all tensors with their names and shapes."""
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
    """Return the members `dtype` and `shape` of a tensor."""
    return {"dtype": _NAMES[dtype], "shape": shape}


def raw_bytes(array: Array) -> memoryview:
    """Return an array's elements as bytes: little-endian, row-major. Arrays in another layout are copied."""
    flat = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1)
    return flat.view(np.uint8).data
