"""The fork server: the process from which workers are forked.

It imports all code once, so a new worker starts in milliseconds. It computes nothing itself. `app.workers.pool` starts
it, sends it a socket for each new worker, and the number of each worker to end. The fork server replies 0 when it is
ready and whenever it gets the number 0, and the exit status of each worker that ends. When the server process ends, for
any reason, the fork server ends its workers and exits.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import socket
import struct
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

import orjson

from app.graphs.store.temporary import remove_after_owner
from app.settings import Settings
from app.workers.worker import work

MESSAGE = struct.Struct("<Qi")
"""A worker's number and its exit status. The status is 0 in messages from the server."""


class ForkServer:
    """Starts and ends workers. `_living` has the process id of each running worker, by number."""

    def __init__(self, control: socket.socket, settings: Settings) -> None:
        self._control, self._settings = control, settings
        self._living: dict[int, int] = {}

    def serve(self) -> None:
        """Handle commands until the server process ends, then end the workers."""
        signal.signal(signal.SIGCHLD, self._reap)
        self._answer()
        self._handle_commands()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number in list(self._living):
            self._end(number)
        for process in self._living.values():
            os.waitpid(process, 0)

    def _answer(self) -> None:
        """Tell the server that this process runs."""
        with suppress(OSError):  # the server has already ended
            self._control.sendall(MESSAGE.pack(0, 0))

    def _handle_commands(self) -> None:
        """Start and end workers until the server closes the socket."""
        while True:
            try:
                data, sockets, _, _ = socket.recv_fds(self._control, MESSAGE.size, 1)
            except OSError:
                return
            if len(data) < MESSAGE.size:
                return
            number, _ = MESSAGE.unpack(data)
            if sockets:
                self._spawn(number, sockets[0])
            elif not number:
                self._answer()
            else:
                self._end(number)

    def _spawn(self, number: int, descriptor: int) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        process = os.fork()
        if not process:
            self._run_worker(descriptor)
        self._living[number] = process
        os.close(descriptor)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})

    def _run_worker(self, descriptor: int) -> NoReturn:
        """Run a worker in the forked process. Never returns to the fork server's code."""
        status = 1
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            self._control.close()
            _die_with_parent()
            _die_before_server()
            with socket.socket(fileno=descriptor) as connection:
                work(connection, self._settings)
            status = 0
        except Exception:  # noqa: BLE001  # the process has no caller
            traceback.print_exc()
        finally:
            os._exit(status)

    def _end(self, number: int) -> None:
        process = self._living.get(number)
        if process is not None:
            os.kill(process, signal.SIGKILL)

    def _reap(self, _signal: int, _frame: FrameType | None) -> None:
        """Report each ended worker to the server."""
        for number, process in list(self._living.items()):
            found, status = os.waitpid(process, os.WNOHANG)
            if found:
                del self._living[number]
                with suppress(OSError):
                    self._control.sendall(MESSAGE.pack(number, os.waitstatus_to_exitcode(status)))


_DEATH_SIGNAL = 1
"""The value of PR_SET_PDEATHSIG on Linux."""


def _die_with_parent() -> None:
    """Set the parent death signal (Linux): the kernel ends this process when its parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)


def _die_before_server() -> None:
    """Let the kernel end this process before the server if memory runs out (Linux)."""
    if sys.platform == "linux":
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


def main() -> None:
    """Run the fork server as a separate process.

    Arguments: the descriptor of the control socket, and the server's temporary folder if it has one. The settings come
    from standard input: arguments are visible to other users, and the store's URL may contain a password.
    """
    for stop in (signal.SIGINT, signal.SIGTERM):  # the server gets them too, and ends this process
        signal.signal(stop, signal.SIG_IGN)
    descriptor, *folders = sys.argv[1:]
    settings = Settings(**orjson.loads(sys.stdin.buffer.read()))
    gc.freeze()
    with socket.socket(fileno=int(descriptor)) as control:
        ForkServer(control, settings).serve()
    for folder in folders:
        remove_after_owner(Path(folder))
