"""The pool of worker processes, in the server process.

`app.workers.dispatch` acquires a worker for each call that does not run on the event loop. A worker is replaced at once
if the deadline of its call passes, if the client disconnects, or if its process ends. Other calls are not affected.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from app.cache import CacheUsage
from app.settings import Settings
from app.workers.fork_server_process import ForkServerProcess
from app.workers.ipc import Closed, Header, receive_async, send_async
from app.workers.shared_memory import Lease

_log = structlog.get_logger("gradd.workers")

_PAUSE_S = 1
"""Seconds before a restart of a fork server that failed to start."""


class Lost(Exception):
    """The worker ended before it answered."""


ENDINGS = ("client_gone", "crash", "deadline", "fork_server", "memory", "stop")
"""Reasons to replace a worker: the client disconnected, the worker crashed or was killed, the deadline passed, the fork
server ended, the worker reached its memory limit, or the server stops."""


class Worker:
    """One worker process and its socket.

    `last` is the key of its last call. `spent` is whether it reached its memory limit. `ending`, one of `ENDINGS`, is
    the reason to replace it if its call is cancelled. `caches` has the usage of its caches after its last call.
    """

    def __init__(self, number: int, connection: socket.socket) -> None:
        self.number, self.connection = number, connection
        self.last: Hashable = None
        self.spent = False
        self.ending = "stop"
        self.caches: Mapping[str, Sequence[int]] = {}
        self._known: set[int] = set()

    async def exchange(
        self, header: Header, body: Sequence[bytes], lease: Lease | None, on_deadline: Callable[[Header], None]
    ) -> tuple[Header, bytearray | memoryview]:
        """Return the answer to a call. The body is in pieces or in the shared memory of `lease`.

        `on_deadline` gets the worker's message with its deadline. Raises Lost. After an error the shared memory is not
        used again: the worker may write to it until its process ends.
        """
        try:
            if lease is None:
                await send_async(self.connection, header, body)
            else:
                segment, descriptors = lease.describe(self._known)
                await send_async(self.connection, {**header, "segment": segment}, (), descriptors)
            while True:
                reply, written = await receive_async(self.connection)
                if "deadline" not in reply:
                    self.caches = reply["caches"]
                    return reply, lease.reply(*reply["reply_range"]) if lease and "reply_range" in reply else written
                on_deadline(reply)
        except BaseException as error:
            if lease is not None:
                lease.spoil()
            if isinstance(error, Closed | OSError):
                raise Lost from None
            raise


class Workers:
    """A fixed number of workers. All methods are called on the event loop.

    `waited` is called with the seconds that each call waited for a worker. `endings` counts the replaced workers. The
    fork server removes the folder `temporary` when this process ends, even if it is killed.
    """

    def __init__(self, settings: Settings, temporary: Path | None, waited: Callable[[float], None]) -> None:
        self._settings, self._temporary, self._waited = settings, temporary, waited
        self._idle: list[Worker] = []
        self._waiting: deque[asyncio.Future[Worker]] = deque()
        self._count = 0
        self._current: dict[int, Worker] = {}
        """The workers that are idle or compute, by number."""
        self._processes: set[int] = set()
        """The numbers of the workers whose processes are started and not reported as ended."""
        self._ended_caches: Counter[tuple[str, str]] = Counter()
        """The lookups in the caches of workers that ended, by cache and result."""
        self.endings: Counter[str] = Counter()
        self._fork_server: ForkServerProcess | None = None
        self.closed = False

    @property
    def most(self) -> int:
        """The number of workers."""
        return self._settings.concurrency

    @property
    def busy(self) -> int:
        """The number of workers that compute now."""
        return self._settings.concurrency - len(self._idle)

    @property
    def alive(self) -> int:
        """The number of worker processes."""
        return len(self._processes) if self._fork_server is not None and self._fork_server.is_ready else 0

    @property
    def waiting(self) -> int:
        """The number of calls that wait for a worker."""
        return sum([not waiter.done() for waiter in self._waiting])

    @property
    def caches(self) -> dict[str, CacheUsage]:
        """The usage of the workers' caches by name: all values, and all lookups since the start."""
        usages: dict[str, CacheUsage] = {}
        for name in {name for worker in self._current.values() for name in worker.caches}:
            found = [worker.caches[name] for worker in self._current.values() if name in worker.caches]
            entries, weight, hits, misses = map(sum, zip(*found, strict=True))
            ended = self._ended_caches
            usages[name] = CacheUsage(entries, weight, hits + ended[name, "hit"], misses + ended[name, "miss"])
        return usages

    def start(self) -> None:
        """Start the fork server and the workers. Does not wait for them: their sockets accept messages at once."""
        self._start_fork_server()
        for _ in range(self._settings.concurrency):
            self._idle.append(self._spawned())

    def close(self) -> None:
        """End all workers and the fork server."""
        self.closed = True
        for worker in self._idle:
            worker.connection.close()
        self._idle.clear()
        self._end_fork_server()

    @asynccontextmanager
    async def acquire(self, likely: Hashable) -> AsyncIterator[Worker]:
        """Acquire a worker for the block, preferably one with `likely` as the key of its last call.

        A worker is replaced if the block raises, or if the worker reached its memory limit.
        """
        asked = time.perf_counter()
        try:
            worker = await self._acquired(likely)
        finally:
            self._waited(time.perf_counter() - asked)
        try:
            yield worker
        except BaseException as error:
            self._end(worker, worker.ending if isinstance(error, asyncio.CancelledError) else "crash")
            worker = self._spawned()
            raise
        else:
            if worker.spent:
                self._end(worker, "memory")
                worker = self._spawned()
        finally:
            self._free(worker)

    async def _acquired(self, likely: Hashable) -> Worker:
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
        """Give the worker to the call that waits longest, or keep it idle. The last idle one is used first."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(worker)
                return
        if self.closed:
            worker.connection.close()
        else:
            self._idle.append(worker)

    def _spawned(self) -> Worker:
        """Return a new worker. Its socket accepts messages before its process has started."""
        self._count += 1
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            self._command(self._count, theirs.fileno())
        if self._fork_server is not None:
            self._processes.add(self._count)
        worker = self._current[self._count] = Worker(self._count, ours)
        return worker

    def _end(self, worker: Worker, ending: str) -> None:
        """End a worker, which is replaced. `ending` is one of `ENDINGS`."""
        self._forget(worker, ending)
        self._command(worker.number)

    def _forget(self, worker: Worker, ending: str) -> None:
        """Close the socket of a worker that is replaced, and count it."""
        worker.connection.close()
        self.endings[ending] += 1
        self._current.pop(worker.number, None)
        for name, (_, _, hits, misses) in worker.caches.items():
            self._ended_caches[name, "hit"] += hits
            self._ended_caches[name, "miss"] += misses

    def _command(self, number: int, *sockets: int) -> None:
        """Start a worker that has a socket, or end a worker."""
        if self._fork_server is not None and not self.closed:
            self._fork_server.command(number, sockets)

    def _start_fork_server(self) -> None:
        self._fork_server = ForkServerProcess(self._settings, self._temporary, self._on_ended, self._restart)

    def _end_fork_server(self) -> None:
        if self._fork_server is not None:
            self._fork_server.end()
            self._fork_server = None

    def _on_ended(self, number: int, status: int) -> None:
        """Replace a worker that ended."""
        self._processes.discard(number)
        if status != -signal.SIGKILL:
            _log.warning("worker ended", worker=number, status=status)
        self._replace(lambda worker: worker.number == number, "crash")

    def _restart(self) -> None:
        _log.error("the workers' fork server ended")
        self._processes.clear()
        was_ready = self._fork_server is not None and self._fork_server.is_ready
        self._end_fork_server()
        asyncio.get_running_loop().call_later(0 if was_ready else _PAUSE_S, self._resume)

    def _resume(self) -> None:
        if not self.closed:
            self._start_fork_server()
            self._replace(lambda _: True, "fork_server")

    def _replace(self, lost: Callable[[Worker], bool], ending: str) -> None:
        """Replace idle workers that ended. `ending` is one of `ENDINGS`."""
        for index, worker in enumerate(self._idle):
            if lost(worker):
                self._forget(worker, ending)
                self._idle[index] = self._spawned()
