"""A large body comes straight from the socket to where it stays: no pieces, and no waking of whoever waits for it.

`app.http.protocol` hands a connection over when a request's headers promise such a body, and gets it back at the body's
end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.workers.shared_memory import LARGE, Lease

if TYPE_CHECKING:
    from app.http.protocol import BoundedProtocol

_PIECE = 2**17
"""Bytes that are received at once; the loop takes up to 32 such pieces before it turns to others."""


def promised(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Return the size of the body that headers promise, if it is large and comes as it is; else 0."""
    size = b""
    for name, value in headers:
        if name == b"content-length":
            size = value
        elif name in _CODED:
            return 0
    return int(size) if size.isdigit() and len(size) < 20 and int(size) >= LARGE else 0


_CODED = {b"content-encoding", b"transfer-encoding"}


class Receiver(asyncio.BufferedProtocol):
    """Receives one body, of which `begun` is there already. The request that it belongs to gets it as one message."""

    def __init__(self, connection: BoundedProtocol, cycle: RequestResponseCycle, loan: Lease, begun: bytes) -> None:
        self._connection, self._cycle, self._wait = connection, cycle, cycle.receive
        self._loan: Lease | None = loan
        self._size, self._position = loan.size, len(begun)
        loan.body[: len(begun)] = begun

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Return the place of what comes next. Nobody reads the rest of a body that has been answered already."""
        if self._cycle.response_complete:
            self.drop()
        piece = min(self._size - self._position, _PIECE)
        if self._loan is None:
            return memoryview(bytearray(piece))
        return self._loan.body[self._position : self._position + piece]

    def buffer_updated(self, nbytes: int) -> None:
        """Count what came."""
        self._position += nbytes
        if self._position == self._size:
            self._connection.take_back()

    async def receive(self) -> Any:
        """Return the body when it is complete, with the segment in which it is; then what comes after it."""
        message: dict[str, Any] = dict(await self._wait())
        if message["type"] == "http.request" and self._loan is not None:
            message["body"], message["loan"] = self._loan.body, self._loan
            self._loan = None
        return message

    def drop(self) -> None:
        """Let go of the body."""
        if self._loan is not None:
            self._loan.end()
            self._loan = None

    def eof_received(self) -> None:
        """Do what the connection does."""
        self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the connection."""
        self.drop()
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """Tell the connection."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """Tell the connection."""
        self._connection.resume_writing()
