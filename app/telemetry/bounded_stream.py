"""Text streams that never block their writer: standard error and standard output of the server process.

A pipe whose reader does not read, a terminal that is paused and a slow disk block every write. The event loop must not
wait for them, so a thread writes. Text that waits is bounded. Text beyond the bound is dropped and counted, and a line
says later how many lines are missing. `app.telemetry.logs` installs the streams.
"""

from __future__ import annotations

import atexit
import io
import os
import select
import threading
from collections import deque
from collections.abc import Callable

MOST_BYTES = 2**22
"""Maximum bytes that wait in a stream: about 20,000 lines of requests."""

_END_S = 1.0
"""Maximum seconds that the end of the process waits for text to be written."""

_PAUSE_S = 1.0
"""Seconds between two attempts to write to a descriptor that is set not to block."""


class BoundedStream(io.TextIOBase):
    """A text stream to a descriptor. Thread-safe; `write` takes a whole line or several.

    `notice` returns the text for a number of dropped lines. The thread starts with the first text.
    """

    def __init__(self, descriptor: int, notice: Callable[[int], str], most: int = MOST_BYTES) -> None:
        self._descriptor, self._notice, self._most = descriptor, notice, most
        self._waiting: deque[bytes | int] = deque()
        """Text, and numbers of lines that were dropped at that place."""
        self._size = 0
        self._missing = 0
        self.dropped = 0
        """Number of lines that were dropped."""
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._ends = False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the text."""
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """What becomes of characters that have no encoding."""
        return "backslashreplace"

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Return whether the descriptor is a terminal."""
        try:
            return os.isatty(self._descriptor)
        except OSError:
            return False

    def write(self, text: str) -> int:
        """Add text to what waits, or drop it. Returns at once."""
        data = text.encode(self.encoding, self.errors)
        with self._changed:
            if self._ends or self._size + len(data) > self._most:
                self._drop(data)
                return len(text)
            if self._missing:
                self._waiting.append(self._missing)
                self._missing = 0
            self._waiting.append(data)
            self._size += len(data)
            if self._thread is None:
                self._start()
            self._changed.notify()
        return len(text)

    def end(self) -> None:
        """Wait a moment until all text is written. Text that comes later is dropped."""
        with self._changed:
            self._ends = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join(_END_S)

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._write_waiting, name="output", daemon=True)
        self._thread.start()
        atexit.register(self.end)

    def _drop(self, data: bytes) -> None:
        lines = data.count(b"\n")
        self.dropped += lines
        self._missing += lines

    def _write_waiting(self) -> None:
        """Write what waits, until the process ends. Runs in the thread."""
        failed = False
        while True:
            with self._changed:
                while not self._waiting and (failed or not self._missing):
                    if self._ends:
                        return
                    self._changed.wait()
                item: bytes | int
                if self._waiting:
                    item = self._waiting.popleft()
                else:
                    item, self._missing = self._missing, 0
            data = item if isinstance(item, bytes) else self._notice(item).encode()
            rest = self._written(data)
            failed = bool(rest)
            with self._changed:
                if not isinstance(item, bytes):
                    self._missing += item if failed else 0
                    continue
                self._size -= len(item)
                self._drop(rest)

    def _written(self, data: bytes) -> bytes:
        """Write the bytes, however long it takes. Return those that cannot be written: the disk is full, nobody reads.

        A descriptor that another process has set not to block is asked again later.
        """
        try:
            while data:
                try:
                    data = data[os.write(self._descriptor, data) :]
                except BlockingIOError:
                    select.select([], [self._descriptor], [], _PAUSE_S)
        except (OSError, ValueError):
            return data
        return b""
