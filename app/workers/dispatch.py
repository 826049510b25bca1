"""Where a call is computed: on the event loop if it is over sooner than a worker could be asked, else in a worker.

What is not known is not guessed from the loop: a large body goes to a worker unread, a structure that was never seen
and has many ops goes there to be planned. Once a plan is known, so is what it costs.
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
from app.graphs.registered import RegisteredGraphs
from app.settings import Settings
from app.workers.ipc import Header
from app.workers.pool import Lost, Workers
from app.workers.shared_memory import Lease

CONTAINER_S = 50e-9
"""Seconds at least that a list or an object of a request takes to be read; 0.6 to 1.5 us where nothing is known of it.

80,000 empty lists in 240 KB of JSON took the event loop 105 ms, 240,000 in as much MessagePack 350 ms.
"""

DECODE_S = 80e-9
"""Seconds that a byte of JSON takes to be read as Python objects, or to be looked at for faults.

Lists of three numbers with a `"NaN"` each take 65 ns a byte.
"""

PLAN_S = 150e-6
"""Seconds that an op takes to be planned, with its derivatives: the unit of predicted planning work."""

_BRIEF_S = 0.02
"""Work that ends within this time is not worth watching the connection for."""

_GRACE_S = 0.1
"""How much longer a worker has than the deadline that it was told, to say itself that it passed."""

_PATIENCE = 10
"""How many times longer than a request that is computed on the loop its plan may take to make, the one time."""


class _Elsewhere(Exception):
    """The call takes too long for the event loop."""

    def __init__(self, key: Key, deadline: float) -> None:
        super().__init__()
        self.key, self.deadline = key, deadline


_UNKNOWN_S = 1e6
"""Seconds assumed for planning whose time no worker has measured."""


class _Scale(Observer):
    """Holds what a call takes against what the event loop can spare. Raises _Elsewhere."""

    def __init__(self, most_s: float, deadline: float, light: Cache[Key, float], read_s: float) -> None:
        self._most_s, self._deadline, self._light, self._read_s = most_s, deadline, light, read_s

    def planning(self, key: Key, work: float) -> None:
        """Plan a structure that was never seen here if that is short, or worth it because running it is known to be."""
        most = self._most_s if self._light.get(key) is None else self._most_s * _PATIENCE
        if PLAN_S * work > most:
            raise _Elsewhere(key, self._deadline)

    def searching(self, key: Key) -> None:
        """Make a plan that no worker has made only if a worker's took little time, and its run too."""
        planned_s = self._light.get(key)
        if (_UNKNOWN_S if planned_s is None else planned_s) > self._most_s * _PATIENCE:
            raise _Elsewhere(key, self._deadline)

    def due(self, deadline: float | None) -> None:
        """Take down the request's own deadline."""
        if deadline is not None:
            self._deadline = deadline

    def decoding(self, key: Key, size: int) -> None:
        """Read few numbers one by one."""
        if DECODE_S * size > self._most_s:
            raise _Elsewhere(key, self._deadline)

    def refusing(self, key: Key, size: int, work: float) -> None:
        """Look for the faults of short requests."""
        if DECODE_S * size + PLAN_S * work > self._most_s:
            raise _Elsewhere(key, self._deadline)

    def running(self, key: Key, seconds: float) -> None:
        """Run what is short."""
        if self._read_s + seconds > self._most_s:
            raise _Elsewhere(key, self._deadline)


def _read_s(call: Call, body: Sequence[bytes | memoryview]) -> float:
    """Return how long the event loop takes to read a body; that of a large one is not looked at."""
    size_s = call.reads.read_s * sum(map(len, body))
    if size_s > _LARGE_S:
        return size_s
    rest = sum([len(bytes(piece).translate(None, call.reads.openers)) for piece in body])
    return size_s + CONTAINER_S * (sum(map(len, body)) - rest)


_LARGE_S = 0.01


class Dispatcher:
    """Answers calls. All methods are called on the event loop."""

    def __init__(self, evaluator: Evaluator, graphs: RegisteredGraphs, workers: Workers, settings: Settings) -> None:
        self._evaluator, self._graphs, self.workers = evaluator, graphs, workers
        self._inline_s = settings.inline_ms / 1000
        self._timeout_s = settings.timeout_ms / 1000
        self._retry_after_s = settings.retry_after_s
        self._light: Cache[Key, float] = Cache(settings.cached_plans, settings.cached_plans)
        """Seconds that a worker took to plan the requests whose run is short; infinity where it had the plan."""

    def at_once(self, call: Call) -> Answer | None:
        """Return the reply to a call that the event loop has time for; None where others have to be asked.

        Raises what the evaluation raises.
        """
        read_s = _read_s(call, [call.body])
        if read_s > self._inline_s or not (call.graph is None or self._graphs.is_ready(call.graph)):
            return None
        try:
            return self._here(call, read_s, time.monotonic() + self._timeout_s)
        except _Elsewhere:
            return None

    async def answer(
        self, call: Call, body: Sequence[bytes], gone: Callable[[], Awaitable[None]], loan: Lease | None = None
    ) -> Answer:
        """Return the reply to a call whose body is in pieces, or in a segment. `gone` returns when the client leaves.

        Raises TimedOut, ClientGone, and what the evaluation raises.
        """
        deadline = time.monotonic() + self._timeout_s
        read_s = _read_s(call, body)
        key: Key | None = None
        if read_s <= self._inline_s and await self._is_ready(call.graph, deadline):
            try:
                whole = Call(call.operation, b"".join(body), call.reads, call.writes, call.graph)
                return self._here(whole, read_s, deadline)
            except _Elsewhere as found:
                key, deadline = found.key, found.deadline
        return await self._sent(_Sent(call, body, loan, key, deadline, gone))

    def _here(self, call: Call, read_s: float, deadline: float) -> Answer:
        """Return what is computed on the event loop. Raises _Elsewhere, and what the evaluation raises."""
        return self._evaluator.answer(call, deadline, _Scale(self._inline_s, deadline, self._light, read_s))

    async def _is_ready(self, graph_id: str | None, deadline: float) -> bool:
        """Whether what is called is at hand; a registered graph is fetched aside.

        Raises NotFound, StoreUnavailable, TimedOut.
        """
        if graph_id is None or self._graphs.is_ready(graph_id):
            return True
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.to_thread(self._graphs.get, graph_id)
        except TimeoutError:
            raise TimedOut("The registered graph was not read in time.") from None
        return self._graphs.is_ready(graph_id)

    async def _sent(self, sent: _Sent) -> Answer:
        """Return what a worker answers. Raises Problem."""
        asked = time.perf_counter()
        try:
            async with (
                asyncio.timeout_at(sent.deadline + _GRACE_S) as limit,
                _unless(sent.gone),
                self.workers.lent(sent.key) as worker,
            ):
                header = sent.header(others=self.workers.busy - 1)
                reply, written = await worker.exchange(
                    header, sent.body, sent.loan, lambda told: limit.reschedule(told["deadline"] + _GRACE_S)
                )
                worker.spent = reply.get("spent", False)
                worker.last = sent.key
        except TimeoutError:
            raise TimedOut("The request did not end in time; nothing of it is kept.") from None
        except Lost:
            detail = "The process that computed this ended before it was done; others are not touched by that."
            raise Busy(detail, self._retry_after_s) from None
        elsewhere_s = time.perf_counter() - asked
        return self._read(reply, written, sent.key, elsewhere_s)._replace(deadline=_deadline(limit))

    def _read(self, reply: Header, written: bytearray | memoryview, key: Key | None, elsewhere_s: float) -> Answer:
        """Return the answer of a worker, asked `elsewhere_s` ago.

        Raises Problem, and WorkerFailed where the service failed.
        """
        if "problem" in reply:
            raise ProblemError.unpacked(reply["problem"])
        if "failed" in reply:
            raise WorkerFailed(reply["failed"])
        timings = Timings(*reply["timings"])
        if key is not None and reply["seconds"] <= self._inline_s:
            self._light.put(key, inf if timings.kept else timings.plan, weight=1)
        return Answer(memoryview(written), timings, elsewhere_s - sum(timings[:-1]))


def _deadline(limit: asyncio.Timeout) -> float:
    """Return the deadline that a worker was given last."""
    latest = limit.when()
    assert latest is not None
    return latest - _GRACE_S


class WorkerFailed(Exception):
    """A defect of the service that showed in a worker; what it says is the traceback there."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """A call as it goes to a worker."""

    call: Call
    body: Sequence[bytes]
    loan: Lease | None
    key: Key | None
    deadline: float
    gone: Callable[[], Awaitable[None]]

    def header(self, others: int) -> Header:
        """Return what the worker needs to know besides the body, `others` being how many more workers compute."""
        return {
            "operation": self.call.operation,
            "graph": self.call.graph,
            "reads": self.call.reads.media_type,
            "writes": self.call.writes.media_type,
            "deadline": self.deadline,
            "others": others,
        }


@asynccontextmanager
async def _unless(gone: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Cancel what is inside when the client leaves, and raise ClientGone. Brief work is not watched."""
    inside = asyncio.current_task()
    assert inside is not None
    left = False

    async def watch() -> None:
        nonlocal left
        await asyncio.sleep(_BRIEF_S)
        await gone()
        left = True
        inside.cancel()

    watching = asyncio.ensure_future(watch())
    try:
        yield
    except asyncio.CancelledError:
        if not left:
            raise
        inside.uncancel()
        raise ClientGone("The client closed the connection.") from None
    finally:
        watching.cancel()
