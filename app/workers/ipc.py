"""IPC messages between the server and its workers.

A message is the sizes of header and body, the header as JSON, and the body as raw bytes. It may carry descriptors of
shared memory. Client data is neither unpickled nor inspected. `app.workers.pool` uses the asynchronous functions on the
event loop, `app.workers.worker` the blocking ones.
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
"""Maximum bytes of a body that is sent together with its header: about the capacity of a socket's buffer."""

Header = dict[str, Any]


class Closed(Exception):
    """The other process closed the connection."""


def send(
    connection: socket.socket, header: Header, body: bytes | memoryview = b"", descriptors: Sequence[int] = ()
) -> None:
    """Send an IPC message. Raises OSError if the connection is closed."""
    head = _head(header, len(body))
    if descriptors:
        head = head[socket.send_fds(connection, [head], descriptors) :]
    connection.sendall(head)
    if body:
        connection.sendall(body)


def receive(connection: socket.socket) -> tuple[Header, bytearray, list[int]]:
    """Return header, body and descriptors of the next IPC message. Raises Closed."""
    begun, descriptors, _, _ = socket.recv_fds(connection, _SIZES.size, 1)
    _checked(len(begun))
    header_size, body_size = _SIZES.unpack(begun + _receive_exactly(connection, _SIZES.size - len(begun)))
    header = orjson.loads(_receive_exactly(connection, header_size))
    return header, _receive_exactly(connection, body_size), descriptors


async def send_async(
    connection: socket.socket, header: Header, body: Sequence[bytes], descriptors: Sequence[int] = ()
) -> None:
    """Send an IPC message; its body is in pieces. Raises OSError if the connection is closed."""
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
    """Return header and body of the next IPC message. Raises Closed."""
    header_size, body_size = _SIZES.unpack(await _receive_exactly_async(connection, _SIZES.size))
    header = orjson.loads(await _receive_exactly_async(connection, header_size))
    return header, await _receive_exactly_async(connection, body_size)


def _head(header: Header, body_size: int) -> bytes:
    text = orjson.dumps(header)
    return _SIZES.pack(len(text), body_size) + text


def _receive_exactly(connection: socket.socket, size: int) -> bytearray:
    buffer = bytearray(size)
    rest = memoryview(buffer)
    while rest:
        rest = rest[_checked(connection.recv_into(rest)) :]
    return buffer


async def _receive_exactly_async(connection: socket.socket, size: int) -> bytearray | memoryview:
    loop = asyncio.get_running_loop()
    # The pages of a large np.empty are allocated on first write. To zero 80 MB at once takes 40 ms.
    buffer = bytearray(size) if size <= _PIECE else np.empty(size, np.uint8).data
    rest = memoryview(buffer)
    while rest:
        try:
            rest = rest[_checked(await loop.sock_recv_into(connection, rest)) :]
        except OSError:
            raise Closed from None
    return buffer


def _checked(received: int) -> int:
    if not received:
        raise Closed
    return received
