"""Dispatch of calls. The routes and the fast path call it.

A call runs on the event loop if its predicted time is shorter than a request to a worker, else in a worker. A large
body goes to a worker unread. A new structure with many ops is planned in a worker. A plan includes its predicted cost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import inf

from app.cache import Cache
from app.errors import Busy, ClientGone, ProblemError, TimedOut
from app.evaluation.evaluator import Answer, Call, Evaluator, Observer, Timings
from app.evaluation.structure import Key
from app.graphs import registration
from app.graphs.registered import RegisteredGraphs
from app.graphs.store.store import StoredGraph
from app.settings import Settings
from app.wire.codec import Codec
from app.workers.ipc import Header
from app.workers.pool import Lost, Workers
from app.workers.shared_memory import Lease
from app.workers.worker import REGISTRATION

CONTAINER_S = 50e-9
"""Minimum seconds to read a list or an object of a request. An unknown one takes 0.6 to 1.5 us.

80,000 empty lists in 240 KB of JSON take the event loop 105 ms, 240,000 in 240 KB of MessagePack 350 ms.
"""

DECODE_S = 80e-9
"""Seconds to read a byte of JSON as Python objects, or to check it for faults.

Lists of three numbers that each contain a `"NaN"` take 65 ns a byte.
"""

PLAN_S = 150e-6
"""Seconds to plan an op with its derivatives: the unit of predicted planning work."""

_BRIEF_S = 0.02
"""Seconds of work before the connection is watched for a disconnect."""

_GRACE_S = 0.1
"""Seconds after its deadline in which a worker can still report the timeout itself."""

_PATIENCE = 10
"""Maximum planning time on the event loop, as a multiple of the maximum time of a call there."""


class _TooLong(Exception):
    """The call takes too long for the event loop."""

    def __init__(self, key: Key, deadline: float) -> None:
        super().__init__()
        self.key, self.deadline = key, deadline


_UNMEASURED_S = 1e6
"""Planning time assumed, in seconds, if no worker has measured it."""


class _InlineBudget(Observer):
    """Observer that compares a call's predicted time with the limit of the event loop. Raises _TooLong."""

    def __init__(self, most_s: float, deadline: float, planning_s: Cache[Key, float], read_s: float) -> None:
        self._most_s, self._deadline, self._planning_s, self._read_s = most_s, deadline, planning_s, read_s

    def planning(self, key: Key, work: float) -> None:
        """Allow the planning of a new structure if it is short, with a higher limit if its run is known to be short."""
        most = self._most_s if self._planning_s.get(key) is None else self._most_s * _PATIENCE
        if PLAN_S * work > most:
            raise _TooLong(key, self._deadline)

    def searching(self, key: Key) -> None:
        """Allow a search for a plan only if a worker's planning and run of the same structure were short."""
        planned_s = self._planning_s.get(key)
        if (_UNMEASURED_S if planned_s is None else planned_s) > self._most_s * _PATIENCE:
            raise _TooLong(key, self._deadline)

    def due(self, deadline: float | None) -> None:
        """Store the request's own deadline."""
        if deadline is not None:
            self._deadline = deadline

    def decoding(self, key: Key, size: int) -> None:
        """Allow reading number by number if the list is short."""
        if DECODE_S * size > self._most_s:
            raise _TooLong(key, self._deadline)

    def refusing(self, key: Key, size: int, work: float) -> None:
        """Allow the search for faults if the request is short."""
        if DECODE_S * size + PLAN_S * work > self._most_s:
            raise _TooLong(key, self._deadline)

    def running(self, key: Key, seconds: float) -> None:
        """Allow a run if it is short."""
        if self._read_s + seconds > self._most_s:
            raise _TooLong(key, self._deadline)


def _read_s(call: Call, body: Sequence[bytes | memoryview]) -> float:
    """Return the seconds that the event loop takes to read a body. Containers of a large body are not counted."""
    size = rest = 0
    for piece in body:
        size += len(piece)
    size_s = call.reads.read_s * size
    if size_s > _LARGE_S:
        return size_s
    for piece in body:
        rest += len(bytes(piece).translate(None, call.reads.openers))
    return size_s + CONTAINER_S * (size - rest)


_LARGE_S = 0.01


class Dispatcher:
    """Answers calls. All methods are called on the event loop."""

    def __init__(self, evaluator: Evaluator, graphs: RegisteredGraphs, workers: Workers, settings: Settings) -> None:
        self._evaluator, self._graphs, self.workers = evaluator, graphs, workers
        self._inline_s = settings.inline_ms / 1000
        self._timeout_s = settings.timeout_ms / 1000
        self._retry_after_s = settings.retry_after_s
        self._planning_s: Cache[Key, float] = Cache(settings.cached_plans, settings.cached_plans)
        """Seconds that a worker took to plan each structure with a short run; infinity if the plan was cached."""

    def at_once(self, call: Call) -> Answer | None:
        """Return the reply to a call that is short enough for the event loop, else None.

        Raises the evaluation's errors.
        """
        read_s = _read_s(call, [call.body])
        if read_s > self._inline_s or not (call.graph is None or self._graphs.is_ready(call.graph)):
            return None
        try:
            return self._inline(call, read_s, time.monotonic() + self._timeout_s)
        except _TooLong:
            return None

    async def answer(
        self, call: Call, body: Sequence[bytes], gone: Callable[[], Awaitable[None]], lease: Lease | None = None
    ) -> Answer:
        """Return the reply to a call. The body is in pieces or in shared memory.

        `gone` returns when the client disconnects. Raises TimedOut, ClientGone, and the evaluation's errors.
        """
        deadline = time.monotonic() + self._timeout_s
        read_s = _read_s(call, body)
        key: Key | None = None
        if read_s <= self._inline_s and await self._is_ready(call.graph, deadline):
            try:
                whole = Call(call.operation, b"".join(body), call.reads, call.writes, call.graph)
                return self._inline(whole, read_s, deadline)
            except _TooLong as found:
                key, deadline = found.key, found.deadline
        return await self._ask_worker(_WorkerCall(call, body, lease, key, deadline, gone))

    async def registration(
        self, body: bytes, reads: Codec, deadline: float, gone: Callable[[], Awaitable[None]]
    ) -> tuple[StoredGraph, list[str]]:
        """Return what `app.graphs.registration.read` returns for a body. A worker reads it, and ends at the deadline.

        Raises TimedOut, ClientGone, and the errors of the reading.
        """
        call = Call(REGISTRATION, b"", reads, reads)
        answer = await self._ask_worker(_WorkerCall(call, [body], None, None, deadline, gone))
        return registration.unpacked(answer.body)

    def _inline(self, call: Call, read_s: float, deadline: float) -> Answer:
        """Return the answer, computed on the event loop. Raises _TooLong, and the evaluation's errors."""
        return self._evaluator.answer(call, deadline, _InlineBudget(self._inline_s, deadline, self._planning_s, read_s))

    async def _is_ready(self, graph_id: str | None, deadline: float) -> bool:
        """Return whether the call's registered graph is in memory. A thread reads it from the store if it is not.

        True for a call without a registered graph. Raises NotFound, StoreUnavailable, TimedOut.
        """
        if graph_id is None or self._graphs.is_ready(graph_id):
            return True
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.to_thread(self._graphs.get, graph_id)
        except TimeoutError:
            raise TimedOut("The registered graph was not read in time.") from None
        return self._graphs.is_ready(graph_id)

    async def _ask_worker(self, sent: _WorkerCall) -> Answer:
        """Send the call to a worker, and return the answer. Raises ProblemError."""
        asked = time.perf_counter()
        try:
            async with (
                asyncio.timeout_at(sent.deadline + _GRACE_S) as limit,
                _cancelled_when(sent.gone) as departure,
                self.workers.acquire(sent.key) as worker,
            ):
                acquired = time.perf_counter()
                header = sent.header(others=self.workers.busy - 1)
                try:
                    reply, written = await worker.exchange(
                        header, sent.body, sent.lease, lambda message: limit.reschedule(message["deadline"] + _GRACE_S)
                    )
                except asyncio.CancelledError:
                    if departure.is_noticed:
                        worker.ending = "client_gone"
                    elif time.monotonic() >= _deadline(limit) + _GRACE_S:
                        worker.ending = "deadline"
                    raise
                worker.spent = reply.get("spent", False)
                worker.last = sent.key
        except TimeoutError:
            raise TimedOut("The request did not end in time; nothing of it is kept.") from None
        except Lost:
            detail = "The process that computed this ended before it was done; others are not touched by that."
            raise Busy(detail, self._retry_after_s) from None
        worker_s = time.perf_counter() - asked
        answer = self._decoded(reply, written, sent.key, worker_s)
        return answer._replace(deadline=_deadline(limit), began=reply["began"], waiting=(asked, acquired))

    def _decoded(self, reply: Header, written: bytearray | memoryview, key: Key | None, worker_s: float) -> Answer:
        """Return the answer from a worker's reply, which took `worker_s` seconds.

        Raises ProblemError, and WorkerFailed for a defect of the service.
        """
        if "problem" in reply:
            raise ProblemError.unpacked(reply["problem"])
        if "failed" in reply:
            raise WorkerFailed(reply["failed"])
        timings = Timings(*reply["timings"])
        if key is not None and reply["seconds"] <= self._inline_s:
            self._planning_s.put(key, inf if timings.kept else timings.plan, weight=1)
        return Answer(memoryview(written), timings, worker_s - sum(timings[:-1]))


def _deadline(limit: asyncio.Timeout) -> float:
    """Return the worker's current deadline."""
    latest = limit.when()
    assert latest is not None
    return latest - _GRACE_S


class WorkerFailed(Exception):
    """A defect of the service in a worker process. The message is the traceback of the worker."""


@dataclass(frozen=True, slots=True)
class _WorkerCall:
    """A call for a worker."""

    call: Call
    body: Sequence[bytes]
    lease: Lease | None
    key: Key | None
    deadline: float
    gone: Callable[[], Awaitable[None]]

    def header(self, others: int) -> Header:
        """Return the header of the IPC message. `others` is the number of other workers that compute now."""
        return {
            "operation": self.call.operation,
            "graph": self.call.graph,
            "reads": self.call.reads.media_type,
            "writes": self.call.writes.media_type,
            "deadline": self.deadline,
            "others": others,
        }


class _Departure:
    """The disconnection of a client."""

    is_noticed = False


@asynccontextmanager
async def _cancelled_when(gone: Callable[[], Awaitable[None]]) -> AsyncIterator[_Departure]:
    """Cancel the block when the client disconnects, and raise ClientGone. The watch starts after `_BRIEF_S`."""
    inside = asyncio.current_task()
    assert inside is not None
    departure = _Departure()

    async def watch() -> None:
        await asyncio.sleep(_BRIEF_S)
        await gone()
        departure.is_noticed = True
        inside.cancel()

    watching = asyncio.ensure_future(watch())
    try:
        yield departure
    except asyncio.CancelledError:
        if not departure.is_noticed:
            raise
        inside.uncancel()
        raise ClientGone("The client closed the connection.") from None
    finally:
        watching.cancel()
