"""The members of a reply as MessagePack: a tensor's `data` are its raw little-endian bytes, row by row."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np

from app.wire.reply import Array, Kept, Members, Piece, Tensor, raw_bytes, type_of


def pieces(members: Members, encoding: str) -> list[Piece]:  # noqa: ARG001
    """Return the reply in pieces. Data are raw bytes whatever `encoding` says: it is about text."""
    parts: list[Piece] = []
    _append(members, parts)
    return parts


def _append(member: Any, parts: list[Piece]) -> None:
    if isinstance(member, np.ndarray):
        _append_tensor(member, {}, parts)
    elif isinstance(member, Tensor):
        _append_tensor(member.array, member.members, parts)
    elif isinstance(member, dict):
        parts.append(msgpack.Packer().pack_map_header(len(member)))
        for name, value in member.items():
            parts.append(_pack(name))
            _append(value, parts)
    else:
        parts.append(member.written(_pack) if isinstance(member, Kept) else _pack(member))


def _append_tensor(array: Array, members: Members, parts: list[Piece]) -> None:
    """Append a tensor. Its bytes are not copied here."""
    head = {**type_of(array.dtype, array.shape), **members, "data": None}
    parts += [_pack(head)[:-1], _bin_header(array.nbytes), raw_bytes(array)]


def _bin_header(size: int) -> bytes:
    """Return what stands before that many raw bytes. Source: the MessagePack specification, bin format family."""
    for code, width in ((b"\xc4", 1), (b"\xc5", 2), (b"\xc6", 4)):
        if size < 1 << 8 * width:
            return code + size.to_bytes(width, "big")
    raise OverflowError(size)


def _pack(data: Any) -> bytes:
    packed: bytes = msgpack.packb(data)
    return packed
