"""The members of a reply as MessagePack: a tensor's `data` are its raw little-endian bytes, row by row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np

from app.wire.reply import Array, CachedText, Measure, Members, Piece, ReplyTensor, Size, raw_bytes, type_of
from engine import DType, Shape, numel


def pieces(members: Members, encoding: str) -> list[Piece]:  # noqa: ARG001
    """Return the reply in pieces. Data are raw bytes whatever `encoding` says: it is about text."""
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
            parts.append(kept(name))
            _append(value, parts)
    else:
        parts.append(member.written(kept) if isinstance(member, CachedText) else kept(member))


def _append_tensor(array: Array, members: Members, parts: list[Piece]) -> None:
    """Append a tensor. Its bytes are not copied here."""
    head = {**type_of(array.dtype, array.shape), **members, "data": None}
    parts += [kept(head)[:-1], _bin_header(array.nbytes), raw_bytes(array)]


def raw_size(shape: Shape, dtype: DType) -> Size:
    """Return the size of an array's raw bytes."""
    size = numel(shape) * dtype.itemsize
    return Size(size + 5, 0.2e-9 * size)


MEASURES: Mapping[str, Measure] = dict.fromkeys(("json", "base64"), raw_size)
"""The size of an array, whatever the encoding."""


def _bin_header(size: int) -> bytes:
    """Return what stands before that many raw bytes. Source: the MessagePack specification, bin format family."""
    for code, width in ((b"\xc4", 1), (b"\xc5", 2), (b"\xc6", 4)):
        if size < 1 << 8 * width:
            return code + size.to_bytes(width, "big")
    raise OverflowError(size)


def kept(data: Any) -> bytes:
    """Return plain data."""
    packed: bytes = msgpack.packb(data)
    return packed
