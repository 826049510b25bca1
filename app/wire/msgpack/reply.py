"""Encodes replies as MessagePack. A tensor's `data` are its elements as bytes: little-endian, row-major."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np

from app.wire.reply import Array, CachedText, Measure, Members, Piece, ReplyTensor, Size, raw_bytes, type_of
from engine import DType, Shape, numel


def pieces(members: Members, encoding: str) -> list[Piece]:  # noqa: ARG001
    """Return the encoded reply in pieces. Data are raw bytes; `encoding` applies only to JSON."""
    parts: list[Piece] = []
    _append(members, parts)
    return parts


def _append(member: Any, parts: list[Piece]) -> None:
    if isinstance(member, np.ndarray):
        _append_tensor(member, {}, parts)
    elif isinstance(member, ReplyTensor):
        _append_tensor(member.array, member.members, parts)
    elif isinstance(member, dict):
        parts.append(msgpack.Packer().pack_map_header(len(member)))
        for name, value in member.items():
            parts.append(encoded(name))
            _append(value, parts)
    else:
        parts.append(member.written(encoded) if isinstance(member, CachedText) else encoded(member))


def _append_tensor(array: Array, members: Members, parts: list[Piece]) -> None:
    """Append a tensor. The array's bytes are not copied."""
    head = {**type_of(array.dtype, array.shape), **members, "data": None}
    parts += [encoded(head)[:-1], _bin_header(array.nbytes), raw_bytes(array)]


def raw_size(shape: Shape, dtype: DType) -> Size:
    """Return the size of an array's raw bytes."""
    size = numel(shape) * dtype.itemsize
    return Size(size + 5, 0.2e-9 * size)


MEASURES: Mapping[str, Measure] = dict.fromkeys(("json", "base64"), raw_size)
"""Functions that return the size of an encoded array, by encoding: the same for both."""


def _bin_header(size: int) -> bytes:
    """Return the header of `size` raw bytes. Source: MessagePack specification, bin format family."""
    for code, width in ((b"\xc4", 1), (b"\xc5", 2), (b"\xc6", 4)):
        if size < 1 << 8 * width:
            return code + size.to_bytes(width, "big")
    raise OverflowError(size)


def encoded(data: Any) -> bytes:
    """Return plain data as MessagePack."""
    packed: bytes = msgpack.packb(data)
    return packed
