"""The way of a request, bytes to bytes: read, type, plan, run, encode. It knows nothing of HTTP.

A structure is read and planned once: plans are kept by the request's skeleton and its tensors' types. The routes call
it through `app.workers.dispatch`, the command line calls it directly.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple, TypeVar

from app.cache import Cache
from app.errors import Busy, InvalidRequest, TimedOut
from app.evaluation.operations import OPERATIONS
from app.evaluation.plans import CallPlan
from app.evaluation.structure import InlineGraph, Key, RegisteredCall, RequestSource, Structure
from app.graphs.registered import RegisteredGraphs
from app.graphs.store.store import Store
from app.schemas.faults import MAX_FAULTS
from app.settings import Settings
from app.wire.codec import JSON, Codec
from app.wire.document import Document
from app.wire.reply import Piece, Size
from app.wire.values import Array, Source, decode_values
from engine import DeadlineExceeded, Fault, GraphError, Program, ValueFault, not_finite

T = TypeVar("T")

_INLINE = {name: InlineGraph(name, operation) for name, operation in OPERATIONS.items()}


class Call(NamedTuple):
    """A request as it arrived: the operation, the body, the codecs of the body and of the reply.

    `graph` is the id of the registered graph that it calls, None where the body has a graph. `put` puts the reply's
    pieces where it is to stand, in the order in which they are made, and returns the whole.
    """

    operation: str
    body: bytes | memoryview
    reads: Codec = JSON
    writes: Codec = JSON
    graph: str | None = None
    put: Callable[[Iterable[Piece]], bytes | memoryview] = b"".join


class Timings(NamedTuple):
    """Seconds that the phases of an answer took, in the order in which they ran; `kept`: its plan was there already."""

    parse: float
    plan: float
    run: float
    encode: float
    kept: bool


class Answer(NamedTuple):
    """The reply to a call, what its phases took, and the seconds that it waited for a worker and went to and fro.

    `deadline` is the moment of time.monotonic() until which the reply may be compressed.
    """

    body: bytes | memoryview
    timings: Timings
    elsewhere_s: float | None = None
    deadline: float | None = None


class Observer:
    """Is told what a call takes before that is done, and may raise to stop it."""

    def due(self, deadline: float | None) -> None:
        """Called with the request's deadline as soon as that is read, a moment of time.monotonic()."""

    def planning(self, key: Key, work: float) -> None:
        """Called before a structure that is not known is read and planned, which takes as long as `work` ops."""

    def searching(self, key: Key) -> None:
        """Called before a plan is made that takes longer than the structure tells. `key` has the tensors' types."""

    def decoding(self, key: Key, size: int) -> None:
        """Called before so many bytes of JSON are read as Python objects, number by number."""

    def refusing(self, key: Key, size: int, work: float) -> None:
        """Called before the faults of a request of so many bytes, as long to plan as `work` ops, are looked for."""

    def running(self, key: Key, seconds: float) -> None:
        """Called before a plan runs and its reply is written, which is predicted to take so many seconds."""


_NOBODY = Observer()

_REPLY_HINT = (
    "Ask for fewer or smaller outputs, `dag` false, `encoding` base64, or MessagePack. GET /v1/limits has the limit."
)


class Evaluator:
    """Answers requests of every operation. Several threads may use it."""

    def __init__(self, settings: Settings, graphs: RegisteredGraphs | None = None) -> None:
        self._settings = settings
        self._graphs = graphs or RegisteredGraphs(Store(settings), settings)
        self._limits = settings.engine_limits()
        self._read_limits = {"max_tensors": settings.max_tensors, "max_ops": settings.max_ops}
        self._structures: Cache[Key, Structure] = Cache(settings.cached_plans, settings.cached_plan_bytes)
        self._plans: Cache[Key, CallPlan] = Cache(settings.cached_plans, settings.cached_plan_bytes)

    @property
    def kept_bytes(self) -> int:
        """A bound on the bytes that structures and plans take which are kept."""
        return self._structures.total + self._plans.total

    def answer(self, call: Call, deadline: float | None = None, observer: Observer = _NOBODY) -> Answer:
        """Return the reply to a request. `deadline` is a moment of time.monotonic(). Raises Problem."""
        try:
            return self._answer(call, deadline, observer)
        except MemoryError:
            detail = "The server has no memory for this computation now."
            raise Busy(detail, self._settings.retry_after_s) from None

    def _answer(self, call: Call, deadline: float | None, observer: Observer) -> Answer:
        began = time.perf_counter()
        asking = self._asking(call)
        asked = asking.operation
        document = call.reads.read(call.body, asking.sections, asked.volatile)
        key = asking.key(blake2b(document.key, digest_size=20).digest())
        structure = self._structures.get(key)
        if structure is None:
            observer.planning(key, asking.work(document))
        try:
            options = asked.options(document.options)
            deadline = _deadline(time.perf_counter() - began, options["timeout_ms"], deadline)
            observer.due(deadline)
            structure = structure or self._structure(asking, key, document)
            arrays = decode_values(document, structure.sent, structure.dtype, partial(observer.decoding, key))
        except InvalidRequest:
            observer.refusing(key, len(call.body), asking.work(document))
            raise InvalidRequest(self._faults(asking, document.whole(), deadline)) from None
        parsed = time.perf_counter()
        made = partial(self._made, asking, document, structure, arrays, deadline)
        plan, kept = self._plan(structure, arrays, observer, made)
        kept_data = [*plan.shown.values(), *([plan.dag] if options["dag"] else [])]
        reply = call.writes.size(plan.results, kept_data, options["encoding"])
        self._check_reply(reply)
        observer.running(key, plan.seconds + reply.seconds)
        planned = time.perf_counter()
        complete = asking.complete(arrays)
        members = self._bounded(asking, document, deadline, lambda: plan.members(complete, options, deadline))
        ran = time.perf_counter()
        if asked.warns:
            members["warnings"] = _warnings(plan, members, complete, document.options)
        if options["dag"]:
            members["dag"] = plan.dag
        body = call.put(_timely(call.writes.pieces(members, options["encoding"]), deadline))
        encoded = time.perf_counter()
        timings = Timings(parsed - began, planned - parsed, ran - planned, encoded - ran, kept)
        return Answer(body, timings, deadline=deadline)

    def _check_reply(self, reply: Size) -> None:
        """Raise InvalidRequest where a reply may be larger than the limit."""
        most = self._settings.max_reply_bytes
        if reply.bytes > most:
            detail = f"the reply has up to {reply.bytes} bytes, over the limit of {most}"
            raise InvalidRequest([Fault((), "reply_limit", detail, _REPLY_HINT)])

    def _asking(self, call: Call) -> RequestSource:
        """Return how the request is read. Raises NotFound, StoreUnavailable."""
        if call.graph is None:
            return _INLINE[call.operation]
        return RegisteredCall(call.operation, OPERATIONS[call.operation], self._graphs.get(call.graph))

    def _structure(self, asking: RequestSource, key: Key, document: Document) -> Structure:
        """Return the structure, which is kept then. Raises InvalidRequest."""
        structure = asking.read(key, document, self._read_limits)
        self._structures.put(key, structure, structure.weight)
        return structure

    def _faults(self, asking: RequestSource, document: Document, deadline: float | None) -> list[Fault]:
        """Return all that is wrong with a request: its structure, its values, else its graph."""
        faults: list[Fault] = []
        try:
            structure = asking.read((), document, self._read_limits)
        except InvalidRequest as error:
            faults.extend(error.faults)
            if any(fault.code != "unknown_member" for fault in faults):
                return [*faults, *asking.value_faults(document)][:MAX_FAULTS]
            structure = asking.read((), document, {**self._read_limits, "unknown_members": True})
        values = list(asking.value_faults(document))
        if not values:
            try:
                arrays = decode_values(document, structure.sent, structure.dtype)
                self._made(asking, document, structure, arrays, deadline)
            except InvalidRequest as error:
                values.extend(error.faults)
        return [*faults, *values][:MAX_FAULTS]

    def _plan(
        self, structure: Structure, arrays: Mapping[Source, Array], observer: Observer, made: Callable[[], CallPlan]
    ) -> tuple[CallPlan, bool]:
        """Return the plan, and whether it was kept from a request before."""
        key = (structure.key, tuple([(array.dtype.char, array.shape) for array in arrays.values()]))
        plan = self._plans.get(key)
        if plan is not None:
            return plan, True
        if structure.operation.kind.searches:
            observer.searching(key)
        plan = made()
        self._plans.put(key, plan, plan.weight(structure.ops))
        return plan, False

    def _made(
        self,
        asking: RequestSource,
        document: Document,
        structure: Structure,
        arrays: Mapping[Source, Array],
        deadline: float | None,
    ) -> CallPlan:
        leaves = structure.leaves(asking.complete(arrays))
        asking.check(structure, leaves)
        graph = structure.graph
        program = Program({name: leaves["tensors", name] for name in graph.tensors}, graph.ops, graph.dtype)
        request = structure.operation.request_for(structure.members, leaves)
        try:
            planner = structure.operation.plan
            return self._bounded(asking, document, deadline, lambda: planner(program, request, self._limits, deadline))
        except GraphError as error:
            faults = (asking.placed(fault, document) for fault in error.faults[:MAX_FAULTS])
            raise InvalidRequest(faults) from None

    def _bounded(self, asking: RequestSource, document: Document, deadline: float | None, work: Callable[[], T]) -> T:
        """Let the engine work. What stops it there becomes a problem, faults of the graph excepted."""
        try:
            _check(deadline)
            return work()
        except ValueFault as error:
            raise InvalidRequest([asking.placed(error.fault, document)]) from None
        except DeadlineExceeded:
            raise TimedOut("The computation did not end in time; nothing of it is kept.") from None


def _warnings(plan: CallPlan, members: Mapping[str, Any], arrays: Mapping[Source, Array], given: Any) -> list[str]:
    """Return the warnings of a plan and of its run. `given` are the options that the request names."""
    unseeded = [_UNSEEDED] if plan.seeded and "seed" not in given else []
    return [*plan.warnings, *unseeded, *not_finite(members, arrays.values())]


_UNSEEDED = (
    "Random ops draw from `seed`, which is left out: every call draws the same numbers. Give another seed in each call."
)


def _check(deadline: float | None) -> None:
    if deadline is not None and time.monotonic() > deadline:
        raise DeadlineExceeded("the deadline passed before the work began")


def _timely(pieces: Iterable[Piece], deadline: float | None) -> Iterator[Piece]:
    """Yield the pieces of a reply as long as there is time. Raises TimedOut."""
    for piece in pieces:
        if deadline is not None and time.monotonic() > deadline:
            raise TimedOut("The reply was not written in time; nothing of it is kept.")
        yield piece


def _deadline(spent: float, timeout_ms: int | None, latest: float | None) -> float | None:
    if timeout_ms is None:
        return latest
    wanted = time.monotonic() - spent + timeout_ms / 1000
    return wanted if latest is None else min(wanted, latest)
