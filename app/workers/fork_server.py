"""The process that workers are forked from: it has read all of the code once, so that a new worker is there in
milliseconds, and computes nothing itself.

`app.workers.pool` starts it, and sends it a socket for each worker that it wants and the number of each that is to be
ended. It answers with 0 when it is ready, and then with how workers ended. When the server is gone, however it went,
the nursery ends its workers and itself.
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
"""A worker's number, and: with a socket, nothing; from the server, nothing; to the server, the status it ended with."""


class ForkServer:
    """The workers that live, by number and process id."""

    def __init__(self, control: socket.socket, settings: Settings) -> None:
        self._control, self._settings = control, settings
        self._living: dict[int, int] = {}

    def serve(self) -> None:
        """Do what the server says, until it is gone; then end the workers."""
        signal.signal(signal.SIGCHLD, self._reap)
        with suppress(OSError):  # a server that is gone already
            self._control.sendall(MESSAGE.pack(0, 0))
        self._obey()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number in list(self._living):
            self._end(number)
        for process in self._living.values():
            os.waitpid(process, 0)

    def _obey(self) -> None:
        """Make and end workers, until the server is gone."""
        while True:
            try:
                data, sockets, _, _ = socket.recv_fds(self._control, MESSAGE.size, 1)
            except OSError:
                return
            if len(data) < MESSAGE.size:
                return
            number, _ = MESSAGE.unpack(data)
            if sockets:
                self._bear(number, sockets[0])
            else:
                self._end(number)

    def _bear(self, number: int, descriptor: int) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        process = os.fork()
        if not process:
            self._live(descriptor)
        self._living[number] = process
        os.close(descriptor)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})

    def _live(self, descriptor: int) -> NoReturn:
        """Be a worker. Whatever happens, this copy of the nursery's own code is not gone back to."""
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
        except Exception:  # noqa: BLE001  # nobody is left to raise it to
            traceback.print_exc()
        finally:
            os._exit(status)

    def _end(self, number: int) -> None:
        process = self._living.get(number)
        if process is not None:
            os.kill(process, signal.SIGKILL)

    def _reap(self, _signal: int, _frame: FrameType | None) -> None:
        """Tell the server of each worker that ended."""
        for number, process in list(self._living.items()):
            found, status = os.waitpid(process, os.WNOHANG)
            if found:
                del self._living[number]
                with suppress(OSError):
                    self._control.sendall(MESSAGE.pack(number, os.waitstatus_to_exitcode(status)))


_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG, as Linux numbers it."""


def _die_with_parent() -> None:
    """Have the kernel end this process when its parent ends, where it can (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)


def _die_before_server() -> None:
    """Have the kernel end this process before the server where memory runs out, if it can."""
    if sys.platform == "linux":
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


def main() -> None:
    """Run as a process of its own.

    Its arguments are the control socket's number and the temporary folder that goes with the server, if there is one.
    The settings come by standard input: arguments are visible to other users, and the store's URL may have a password.
    """
    for stop in (signal.SIGINT, signal.SIGTERM):  # the server is told, and ends us when all is done
        signal.signal(stop, signal.SIG_IGN)
    descriptor, *folders = sys.argv[1:]
    settings = Settings(**orjson.loads(sys.stdin.buffer.read()))
    gc.freeze()
    with socket.socket(fileno=int(descriptor)) as control:
        ForkServer(control, settings).serve()
    for folder in folders:
        remove_after_owner(Path(folder))
