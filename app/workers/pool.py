"""The server's side of its worker processes: who is free, who waits, and what happens to one that must not go on.

`app.workers.dispatch` lends a worker for each call that is not computed on the event loop. One that is given up on,
because the deadline passed or the client left, or that ends by itself, is replaced at once; nothing else notices.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import orjson
import structlog

from app.settings import Settings
from app.workers.fork_server import MESSAGE
from app.workers.ipc import Closed, Header, receive_async, send_async
from app.workers.shared_memory import Lease

_log = structlog.get_logger("gradd.workers")

_START = "import sys, json; sys.path[:] = json.loads(sys.argv.pop(1)); from app.workers.fork_server import main; main()"
"""What the nursery's interpreter runs: it finds what this one finds, whatever folder it starts in."""


_END_S = 5
"""Seconds that the nursery has to end its workers and itself."""

_PAUSE_S = 1
"""Seconds before a nursery that did not come to be is started again."""


class Lost(Exception):
    """The worker ended before it answered."""


class Worker:
    """One worker process, by the socket that leads to it. `last` is what it computed last."""

    def __init__(self, number: int, connection: socket.socket) -> None:
        self.number, self.connection = number, connection
        self.last: Hashable = None
        self.spent = False
        self._known: set[int] = set()

    async def exchange(
        self, header: Header, body: Sequence[bytes], loan: Lease | None, told: Callable[[Header], None]
    ) -> tuple[Header, bytearray | memoryview]:
        """Return the answer to a call, whose body is in pieces or in a segment that is lent to it.

        What the worker tells before goes to `told`. Raises Lost. A segment is not lent again once the worker was given
        up: it may still write to it until it is no more.
        """
        try:
            if loan is None:
                await send_async(self.connection, header, body)
            else:
                segment, descriptors = loan.told(self._known)
                await send_async(self.connection, {**header, "segment": segment}, (), descriptors)
            while True:
                reply, written = await receive_async(self.connection)
                if "deadline" not in reply:
                    return reply, loan.reply(*reply["stands"]) if loan and "stands" in reply else written
                told(reply)
        except BaseException as error:
            if loan is not None:
                loan.spoil()
            if isinstance(error, Closed | OSError):
                raise Lost from None
            raise


class Workers:
    """A number of workers. All methods are called on the event loop.

    The folder `temporary` is removed when this process ends, even if it is killed.
    """

    def __init__(self, settings: Settings, temporary: Path | None = None) -> None:
        self._settings, self._temporary = settings, temporary
        self._idle: list[Worker] = []
        self._waiting: deque[asyncio.Future[Worker]] = deque()
        self._count = 0
        self._nursery: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._ready = False
        self.closed = False

    @property
    def busy(self) -> int:
        """How many workers compute now."""
        return self._settings.concurrency - len(self._idle)

    def start(self) -> None:
        """Start the nursery and the workers. It does not wait for them: what they are sent is there when they are."""
        self._start_nursery()
        for _ in range(self._settings.concurrency):
            self._idle.append(self._born())

    def close(self) -> None:
        """End all workers, and the nursery."""
        self.closed = True
        for worker in self._idle:
            worker.connection.close()
        self._idle.clear()
        self._end_nursery()

    @asynccontextmanager
    async def lent(self, likely: Hashable) -> AsyncIterator[Worker]:
        """Lend a worker, best one that computed something `likely` last. If the block is left by an error, it is ended.

        A worker that said that it is spent is replaced too.
        """
        worker = await self._taken(likely)
        try:
            yield worker
        except BaseException:
            self._end(worker)
            worker = self._born()
            raise
        else:
            if worker.spent:
                self._end(worker)
                worker = self._born()
        finally:
            self._free(worker)

    async def _taken(self, likely: Hashable) -> Worker:
        if not self._idle:
            waiter: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                return await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._free(waiter.result())
                raise
        known = (index for index, worker in enumerate(self._idle) if likely is not None and worker.last == likely)
        return self._idle.pop(next(known, -1))

    def _free(self, worker: Worker) -> None:
        """Hand the worker to who waits longest, or keep it; the one used last is taken first."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(worker)
                return
        if self.closed:
            worker.connection.close()
        else:
            self._idle.append(worker)

    def _born(self) -> Worker:
        """Return a new worker, whose process comes to be while its socket can be written to already."""
        self._count += 1
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            self._order(self._count, [theirs.fileno()])
        return Worker(self._count, ours)

    def _end(self, worker: Worker) -> None:
        worker.connection.close()
        self._order(worker.number, [])

    def _order(self, number: int, sockets: list[int]) -> None:
        """Tell the nursery to make a worker of a socket, or to end one."""
        if self._control is None or self.closed:
            return
        with suppress(OSError):  # a nursery that is gone took its workers along; `_hear` meets the end and starts anew
            socket.send_fds(self._control, [MESSAGE.pack(number, 0)], sockets)

    def _start_nursery(self) -> None:
        self._control, theirs = socket.socketpair()
        path = orjson.dumps(sys.path).decode()
        folders = [] if self._temporary is None else [str(self._temporary)]
        with theirs:
            self._nursery = subprocess.Popen(  # noqa: S603  # this interpreter, and nothing that a client wrote
                [sys.executable, "-c", _START, path, str(theirs.fileno()), *folders],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.PIPE,
            )
        assert self._nursery.stdin is not None
        with suppress(BrokenPipeError), self._nursery.stdin as settings:
            settings.write(self._settings.model_dump_json().encode())
        self._ready = False
        self._control.setblocking(False)
        asyncio.get_running_loop().add_reader(self._control, self._hear, self._control)

    def _end_nursery(self) -> None:
        """End it, and with it what it has made: that is its last work, once it has read its code."""
        if self._control is None or self._nursery is None:
            return
        asyncio.get_running_loop().remove_reader(self._control)
        self._control.close()
        if not self._ready:
            self._nursery.kill()
        try:
            self._nursery.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._nursery.kill()
            self._nursery.wait()
        self._control = self._nursery = None

    def _hear(self, control: socket.socket) -> None:
        """Hear that the nursery is ready, how a worker ended, or that the nursery is gone itself."""
        try:
            data = control.recv(MESSAGE.size)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._start_again()
            return
        number, status = MESSAGE.unpack(data)
        self._ready = True
        if number and status != -signal.SIGKILL:
            _log.warning("worker ended", worker=number, status=status)
        self._replace(lambda worker: worker.number == number)

    def _start_again(self) -> None:
        _log.error("the workers' nursery ended")
        self._end_nursery()
        asyncio.get_running_loop().call_later(0 if self._ready else _PAUSE_S, self._resume)

    def _resume(self) -> None:
        if not self.closed:
            self._start_nursery()
            self._replace(lambda _: True)

    def _replace(self, lost: Callable[[Worker], bool]) -> None:
        """Replace workers that ended while nobody used them."""
        for index, worker in enumerate(self._idle):
            if lost(worker):
                worker.connection.close()
                self._idle[index] = self._born()
