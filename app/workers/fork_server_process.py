"""The fork server as the server process sees it: its start, its control socket, its output and its end.

`app.workers.pool` starts one, sends it commands, and starts another one when it has ended. All functions are called on
the event loop.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import orjson
import structlog

from app.settings import Settings
from app.workers.fork_server import MESSAGE

_log = structlog.get_logger("gradd.workers")

_START = "import sys, json; sys.path[:] = json.loads(sys.argv.pop(1)); from app.workers.fork_server import main; main()"
"""Code that the fork server's interpreter runs. It uses this process's import path, in any working folder."""

_END_S = 5
"""Maximum seconds for the fork server to end its workers and exit."""

BEAT_S = 1.0
"""Seconds between two questions whether the fork server runs."""

MISSED = 10
"""Questions in a row without an answer after which it is taken for stuck or stopped, and is killed.

Questions are counted, not seconds: if the machine sleeps or this process is stopped, only one question is late.
"""

_MISSED_AT_START = 120
"""The same for a fork server that still imports the code."""

_READ_S = 0.05
"""Seconds that output is left to grow, so that a traceback is one line of the log."""

_MOST_OUTPUT = 2**16
"""Maximum bytes of output in a line of the log."""


class ForkServerProcess:
    """A running fork server.

    `on_ended` gets the number and the exit status of each worker that ends. `on_lost` is called once if the fork server
    ends by itself, or is killed because it does not answer. The fork server removes the folder `temporary` when this
    process ends, even if it is killed. `is_ready` is whether it has answered.
    """

    def __init__(
        self,
        settings: Settings,
        temporary: Path | None,
        on_ended: Callable[[int, int], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._on_ended, self._on_lost = on_ended, on_lost
        self.is_ready = False
        self._control, theirs = socket.socketpair()
        self._output, output = os.pipe()
        path = orjson.dumps(sys.path).decode()
        folders = [] if temporary is None else [str(temporary)]
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603  # this interpreter, no client input
                [sys.executable, "-c", _START, path, str(theirs.fileno()), *folders],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
            )
        os.close(output)
        assert self.process.stdin is not None
        with suppress(BrokenPipeError), self.process.stdin as stdin:
            stdin.write(settings.model_dump_json().encode())
        self._control.setblocking(False)
        os.set_blocking(self._output, False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._control, self._on_message)
        self._loop.add_reader(self._output, self._on_output)
        self._read_timer: asyncio.Handle | None = None
        self._unanswered = 0
        self._beat_timer: asyncio.Handle = self._loop.call_later(BEAT_S, self._beat)

    def command(self, number: int, sockets: Sequence[int] = ()) -> None:
        """Start a worker that has a socket, or end a worker. Number 0 asks for a message.

        A fork server that has ended, or does not read its messages, does none of these.
        """
        with suppress(OSError):
            socket.send_fds(self._control, [MESSAGE.pack(number, 0)], sockets)

    def end(self) -> None:
        """End the fork server. Once it is ready, it ends its workers before it exits."""
        self._beat_timer.cancel()
        self._loop.remove_reader(self._control)
        self._loop.remove_reader(self._output)
        self._control.close()
        if not self.is_ready:
            self.process.kill()
        try:
            self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self._read_timer is not None:
            self._read_timer.cancel()
        self._log_output()
        os.close(self._output)

    def _on_message(self) -> None:
        """Handle a message of the fork server: it is ready, a worker ended, or (end of file) the fork server ended."""
        try:
            data = self._control.recv(MESSAGE.size)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose()
            return
        number, status = MESSAGE.unpack(data)
        self.is_ready = True
        self._unanswered = 0
        if number:
            self._on_ended(number, status)

    def _beat(self) -> None:
        """Ask the fork server whether it runs, and give it up if it has not answered for long."""
        if self._unanswered >= (MISSED if self.is_ready else _MISSED_AT_START):
            _log.error("the workers' fork server does not answer")
            self._lose()
            return
        self._unanswered += 1
        self.command(0)
        self._beat_timer = self._loop.call_later(BEAT_S, self._beat)

    def _lose(self) -> None:
        self._loop.remove_reader(self._control)
        self._beat_timer.cancel()
        self.process.kill()
        self._on_lost()

    def _on_output(self) -> None:
        """Read the output a moment later. It comes through a pipe, so that no worker waits for a reader of the log."""
        self._loop.remove_reader(self._output)
        self._read_timer = self._loop.call_later(_READ_S, self._resume_output)

    def _resume_output(self) -> None:
        if self._log_output():
            self._loop.add_reader(self._output, self._on_output)

    def _log_output(self) -> bool:
        """Log what the fork server and the workers wrote. Return False if nothing will come."""
        try:
            data = os.read(self._output, _MOST_OUTPUT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if data:
            _log.warning("output of a worker process", text=data.decode("utf-8", "backslashreplace"))
        return bool(data)
