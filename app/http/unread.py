"""A time limit for clients that do not read their replies. `app.http.protocol` uses it."""

from __future__ import annotations

import asyncio
import fcntl
import struct
import termios
from contextlib import suppress


class ReplyWatch:
    """Closes a connection whose client reads less than `least` bytes of a reply in `timeout_s` seconds."""

    def __init__(self, transport: asyncio.Transport, timeout_s: float, least: int) -> None:
        self._transport, self._timeout_s, self._least = transport, timeout_s, max(least, 1)
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Watch from now on until the transport has sent its buffer. Nothing may be written meanwhile."""
        self.stop()
        if self._transport.get_write_buffer_size():
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._timeout_s, self._check, self._unread())

    def stop(self) -> None:
        """Watch no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self, before: int) -> None:
        self._timer = None
        if self._transport.get_write_buffer_size() and before - self._unread() < self._least:
            self._transport.abort()
        else:
            self.start()

    def _unread(self) -> int:
        """Return the number of bytes that the client has not acknowledged, those in the socket's buffer too.

        The transport's buffer alone shrinks in steps of up to a megabyte.
        """
        return self._transport.get_write_buffer_size() + _queued(self._transport)


def _queued(transport: asyncio.Transport) -> int:
    """Return the number of bytes in the buffer of the socket, or 0 if the system does not tell. Source: tcp(7)."""
    connection = transport.get_extra_info("socket")
    with suppress(OSError, AttributeError):
        size: int = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)))[0]
        return size
    return 0
