"""Large bodies are received from the socket directly into shared memory, without copies and wake-ups for each piece.

`app.http.protocol` switches a connection to `Receiver` if the headers announce a large body, and back at its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.http.incoming import ARRIVED, Incoming
from app.workers.shared_memory import LARGE, Lease

if TYPE_CHECKING:
    from app.http.protocol import BoundedProtocol

_PIECE = 2**17
"""Bytes received at once. The event loop receives up to 32 pieces before it serves other connections."""


def promised(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Return the announced size of a large body without content or transfer coding, else 0."""
    size = b""
    for name, value in headers:
        if name == b"content-length":
            size = value
        elif name in _CODED:
            return 0
    return int(size) if size.isdigit() and len(size) < 20 and int(size) >= LARGE else 0


_CODED = {b"content-encoding", b"transfer-encoding"}


class Receiver(Incoming, asyncio.BufferedProtocol):
    """Receives one body into shared memory. The request gets it as one message."""

    def __init__(self, connection: BoundedProtocol, cycle: RequestResponseCycle, lease: Lease) -> None:
        super().__init__(cycle)
        begun = cycle.body
        self._connection = connection
        self._lease: Lease | None = lease
        self._size, self._position = lease.size, len(begun)
        lease.body[: len(begun)] = begun
        cycle.body = bytearray()
        cycle.message_event.clear()
        cast("dict[str, Any]", cycle.scope)[ARRIVED] = lambda: self._position

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Return the buffer for the next bytes. After the answer, the rest of the body is discarded."""
        if self.cycle.response_complete:
            self.drop()
        piece = min(self._size - self._position, _PIECE)
        if self._lease is None:
            return memoryview(bytearray(piece))
        return self._lease.body[self._position : self._position + piece]

    def buffer_updated(self, nbytes: int) -> None:
        """Count the received bytes, and switch back at the end of the body."""
        self._position += nbytes
        if self._position == self._size:
            self._connection.take_back()

    async def receive(self) -> Any:
        """Return the complete body with the lease of its shared memory, then the later messages. Raises the problem."""
        message: dict[str, Any] = dict(await super().receive())
        if message["type"] == "http.request" and self._lease is not None:
            message["body"], message["lease"] = self._lease.body, self._lease
            self._lease = None
        return message

    def drop(self) -> None:
        """Release the body."""
        if self._lease is not None:
            self._lease.end()
            self._lease = None

    def eof_received(self) -> None:
        """Forward to the connection."""
        self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Release the body, and forward to the connection."""
        self.drop()
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """Forward to the connection."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """Forward to the connection."""
        self._connection.resume_writing()
