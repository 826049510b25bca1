"""Messages between the server and its workers: a header of plain members as JSON, and a body of bytes as they are.

A frame is the sizes of both, the header, the body. Descriptors of segments may come with it. Nothing that a client sent
is unpickled or looked at on the way. `app.workers.pool` speaks it on the event loop, `app.workers.worker` in a process
that does nothing else.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

_SIZES = struct.Struct("<IQ")

_PIECE = 2**18
"""Bytes up to which header and body are sent together; a socket takes about as many at once."""

Header = dict[str, Any]


class Closed(Exception):
    """The other side is gone."""


def send(
    connection: socket.socket, header: Header, body: bytes | memoryview = b"", descriptors: Sequence[int] = ()
) -> None:
    """Send a frame. Raises OSError where the other side is gone."""
    head = _head(header, len(body))
    if descriptors:
        head = head[socket.send_fds(connection, [head], descriptors) :]
    connection.sendall(head)
    if body:
        connection.sendall(body)


def receive(connection: socket.socket) -> tuple[Header, bytearray, list[int]]:
    """Return the next frame, and the descriptors that came with it. Raises Closed."""
    begun, descriptors, _, _ = socket.recv_fds(connection, _SIZES.size, 1)
    _some(len(begun))
    header_size, body_size = _SIZES.unpack(begun + _exactly(connection, _SIZES.size - len(begun)))
    header = orjson.loads(_exactly(connection, header_size))
    return header, _exactly(connection, body_size), descriptors


async def send_async(
    connection: socket.socket, header: Header, body: Sequence[bytes], descriptors: Sequence[int] = ()
) -> None:
    """Send a frame whose body is in pieces. Raises OSError where the other side is gone."""
    loop = asyncio.get_running_loop()
    size = sum(map(len, body))
    head = _head(header, size)
    if descriptors:
        head = head[socket.send_fds(connection, [head], descriptors) :]
    if size <= _PIECE:
        await loop.sock_sendall(connection, b"".join([head, *body]))
        return
    await loop.sock_sendall(connection, head)
    for piece in body:
        await loop.sock_sendall(connection, piece)


async def receive_async(connection: socket.socket) -> tuple[Header, bytearray | memoryview]:
    """Return the next frame. Raises Closed."""
    header_size, body_size = _SIZES.unpack(await _exactly_async(connection, _SIZES.size))
    header = orjson.loads(await _exactly_async(connection, header_size))
    return header, await _exactly_async(connection, body_size)


def _head(header: Header, body_size: int) -> bytes:
    text = orjson.dumps(header)
    return _SIZES.pack(len(text), body_size) + text


def _exactly(connection: socket.socket, size: int) -> bytearray:
    buffer = bytearray(size)
    rest = memoryview(buffer)
    while rest:
        rest = rest[_some(connection.recv_into(rest)) :]
    return buffer


async def _exactly_async(connection: socket.socket, size: int) -> bytearray | memoryview:
    loop = asyncio.get_running_loop()
    # The pages of a large buffer come to be as they are written to, not all at once: 40 ms for 80 MB.
    buffer = bytearray(size) if size <= _PIECE else np.empty(size, np.uint8).data
    rest = memoryview(buffer)
    while rest:
        try:
            rest = rest[_some(await loop.sock_recv_into(connection, rest)) :]
        except OSError:
            raise Closed from None
    return buffer


def _some(received: int) -> int:
    if not received:
        raise Closed
    return received
