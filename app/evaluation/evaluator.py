"""Evaluation of a request, from bytes to bytes: read, type, plan, run, encode. The module is independent of HTTP.

Plans are cached by the request's skeleton and the types of its tensors, so a structure is read and planned once. The
routes call the evaluator through `app.workers.dispatch`; the command line calls it directly.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple, TypeVar

from app.cache import Cache, CacheUsage
from app.errors import Busy, InvalidRequest, TimedOut
from app.evaluation.operations import OPERATIONS
from app.evaluation.plans import CallPlan
from app.evaluation.structure import InlineGraph, Key, RegisteredCall, RequestSource, Structure
from app.graphs.registered import RegisteredGraphs
from app.graphs.store.store import Store
from app.schemas.faults import MAX_FAULTS
from app.settings import Settings
from app.wire.codec import JSON, Codec
from app.wire.decode import at_ease
from app.wire.document import Document
from app.wire.reply import Piece, Size
from app.wire.values import Array, Source, decode_values
from engine import DeadlineExceeded, Fault, GraphError, Program, ValueFault, not_finite

T = TypeVar("T")

_INLINE = {name: InlineGraph(name, operation) for name, operation in OPERATIONS.items()}


class Call(NamedTuple):
    """A request: the operation, the body, and the codecs of the body and of the reply.

    `graph` is the id of the registered graph that is called, or None if the body contains a graph. `put` takes the
    pieces of the reply in order, writes them to their destination, and returns the complete reply.
    """

    operation: str
    body: bytes | memoryview
    reads: Codec = JSON
    writes: Codec = JSON
    graph: str | None = None
    put: Callable[[Iterable[Piece]], bytes | memoryview] = b"".join


class Timings(NamedTuple):
    """Seconds of each phase, in the order of execution. `kept` is True if the plan was cached."""

    parse: float
    plan: float
    run: float
    encode: float
    kept: bool


class Answer(NamedTuple):
    """The reply to a call, the seconds of each phase, and the seconds of waiting for a worker and of the transfer.

    `deadline`, in time.monotonic(), limits the compression of the reply. `began` is the start of the first phase, and
    `waiting` the start and the end of the wait for a worker, in time.perf_counter().
    """

    body: bytes | memoryview
    timings: Timings
    elsewhere_s: float | None = None
    deadline: float | None = None
    began: float = 0.0
    waiting: tuple[float, float] | None = None


class Observer:
    """Receives the expected cost of each phase before the phase runs. A method may raise to stop the request."""

    def due(self, deadline: float | None) -> None:
        """Called with the request's deadline, in time.monotonic(), as soon as the deadline is read."""

    def planning(self, key: Key, work: float) -> None:
        """Called before an unknown structure is read and planned. `work` is the expected planning work, in ops."""

    def searching(self, key: Key) -> None:
        """Called before a plan that takes longer than its structure suggests. `key` includes the tensors' types."""

    def decoding(self, key: Key, size: int) -> None:
        """Called before `size` bytes of JSON are decoded number by number as Python objects."""

    def refusing(self, key: Key, size: int, work: float) -> None:
        """Called before the faults of a request are collected: `size` in bytes, `work` of planning in ops."""

    def running(self, key: Key, seconds: float) -> None:
        """Called before a plan runs and its reply is encoded. `seconds` is the predicted time of both."""


_NO_OBSERVER = Observer()

_SHORT = 2**12
"""Bytes of a body whose lists are decoded in a fraction of a millisecond, so that the observer is not asked."""

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
        """An upper bound on the bytes of the cached structures and plans."""
        return self._structures.total + self._plans.total

    @property
    def caches(self) -> dict[str, CacheUsage]:
        """The usage of the caches by their names."""
        return {"structures": self._structures.usage, "plans": self._plans.usage, "graphs": self._graphs.usage}

    def answer(self, call: Call, deadline: float | None = None, observer: Observer = _NO_OBSERVER) -> Answer:
        """Return the reply to a request. `deadline` is in time.monotonic(). Raises Problem."""
        try:
            return self._answer(call, deadline, observer)
        except MemoryError:
            detail = "The server has no memory for this computation now."
            raise Busy(detail, self._settings.retry_after_s) from None

    def _answer(self, call: Call, deadline: float | None, observer: Observer) -> Answer:
        began = time.perf_counter()
        source = self._source(call)
        operation = source.operation
        if len(call.body) > _LONG:
            deadline = _early_deadline(call, deadline)
            observer.due(deadline)
        document = call.reads.read(call.body, source.sections, operation.volatile)
        key = source.key(blake2b(document.key, digest_size=20).digest())
        structure = self._structures.get(key)
        if structure is None:
            observer.planning(key, source.work(document))
        try:
            options = operation.options(document.options)
            deadline = _deadline(time.perf_counter() - began, options["timeout_ms"], deadline)
            observer.due(deadline)
            structure = structure or self._structure(source, key, document)
            slowly = at_ease if len(call.body) < _SHORT else partial(observer.decoding, key)
            arrays = decode_values(document, structure.sent, structure.dtype, slowly)
        except InvalidRequest:
            observer.refusing(key, len(call.body), source.work(document))
            searching = partial(observer.searching, key)
            raise InvalidRequest(self._faults(source, document.whole(), searching, deadline)) from None
        parsed = time.perf_counter()
        made = partial(self._new_plan, source, document, structure, arrays, deadline)
        plan, kept = self._plan(structure, arrays, observer, made)
        kept_data = [*plan.shown.values(), *([plan.dag] if options["dag"] else [])]
        reply = call.writes.size(plan.results, kept_data, options["encoding"])
        self._check_reply(reply)
        observer.running(key, plan.seconds + reply.seconds)
        planned = time.perf_counter()
        complete = source.complete(arrays)
        members = self._bounded(source, document, deadline, lambda: plan.members(complete, options, deadline))
        ran = time.perf_counter()
        if operation.warns:
            members["warnings"] = _warnings(plan, members, complete, document.options)
        if options["dag"]:
            members["dag"] = plan.dag
        body = call.put(_until(call.writes.pieces(members, options["encoding"]), deadline))
        encoded = time.perf_counter()
        timings = Timings(parsed - began, planned - parsed, ran - planned, encoded - ran, kept)
        return Answer(body, timings, deadline=deadline, began=began)

    def _check_reply(self, reply: Size) -> None:
        """Raise InvalidRequest if the reply may exceed the size limit."""
        most = self._settings.max_reply_bytes
        if reply.bytes > most:
            detail = f"the reply has up to {reply.bytes} bytes, over the limit of {most}"
            raise InvalidRequest([Fault((), "reply_limit", detail, _REPLY_HINT)])

    def _source(self, call: Call) -> RequestSource:
        """Return the request source of a call. Raises NotFound, StoreUnavailable."""
        if call.graph is None:
            return _INLINE[call.operation]
        return RegisteredCall(call.operation, OPERATIONS[call.operation], self._graphs.get(call.graph))

    def _structure(self, source: RequestSource, key: Key, document: Document) -> Structure:
        """Return the structure and cache it. Raises InvalidRequest."""
        structure = source.read(key, document, self._read_limits)
        self._structures.put(key, structure, structure.weight)
        return structure

    def _faults(
        self, source: RequestSource, document: Document, searching: Callable[[], None], deadline: float | None
    ) -> list[Fault]:
        """Return the faults of a request: of its structure and its values; if the values are valid, of its graph.

        `searching` is called before a search for a plan.
        """
        faults: list[Fault] = []
        try:
            structure = source.read((), document, self._read_limits)
        except InvalidRequest as error:
            faults.extend(error.faults)
            if any(fault.code != "unknown_member" for fault in faults):
                return [*faults, *source.value_faults(document)][:MAX_FAULTS]
            structure = source.read((), document, {**self._read_limits, "unknown_members": True})
        values = list(source.value_faults(document))
        if not values:
            try:
                arrays = decode_values(document, structure.sent, structure.dtype)
                if structure.operation.kind.searches:
                    searching()
                self._new_plan(source, document, structure, arrays, deadline)
            except InvalidRequest as error:
                values.extend(error.faults)
        return [*faults, *values][:MAX_FAULTS]

    def _plan(
        self, structure: Structure, arrays: Mapping[Source, Array], observer: Observer, made: Callable[[], CallPlan]
    ) -> tuple[CallPlan, bool]:
        """Return the plan, and whether it was cached."""
        key = (structure.key, tuple([(array.dtype.char, array.shape) for array in arrays.values()]))
        plan = self._plans.get(key)
        if plan is not None:
            return plan, True
        if structure.operation.kind.searches:
            observer.searching(key)
        plan = made()
        self._plans.put(key, plan, plan.weight(structure.ops))
        return plan, False

    def _new_plan(
        self,
        source: RequestSource,
        document: Document,
        structure: Structure,
        arrays: Mapping[Source, Array],
        deadline: float | None,
    ) -> CallPlan:
        leaves = structure.leaves(source.complete(arrays))
        source.check(structure, leaves)
        graph = structure.graph
        program = Program({name: leaves["tensors", name] for name in graph.tensors}, graph.ops, graph.dtype)
        request = structure.operation.request_for(structure.members, leaves)
        try:
            planner = structure.operation.plan
            return self._bounded(source, document, deadline, lambda: planner(program, request, self._limits, deadline))
        except GraphError as error:
            faults = (source.locate(fault, document) for fault in error.faults[:MAX_FAULTS])
            raise InvalidRequest(faults) from None

    def _bounded(self, source: RequestSource, document: Document, deadline: float | None, work: Callable[[], T]) -> T:
        """Run engine work. Translate ValueFault to InvalidRequest, and DeadlineExceeded to TimedOut."""
        try:
            _check(deadline)
            return work()
        except ValueFault as error:
            raise InvalidRequest([source.locate(error.fault, document)]) from None
        except DeadlineExceeded:
            raise TimedOut("The computation did not end in time; nothing of it is kept.") from None


def _warnings(plan: CallPlan, members: Mapping[str, Any], arrays: Mapping[Source, Array], given: Any) -> list[str]:
    """Return the warnings of a plan and of its run. `given` contains the options that the request sets."""
    unseeded = [_UNSEEDED] if plan.seeded and "seed" not in given else []
    return [*plan.warnings, *unseeded, *not_finite(members, arrays.values())]


_UNSEEDED = (
    "Random ops draw from `seed`, which is left out: every call draws the same numbers. Give another seed in each call."
)


def _check(deadline: float | None) -> None:
    if deadline is not None and time.monotonic() > deadline:
        raise DeadlineExceeded("the deadline passed before the work began")


def _until(pieces: Iterable[Piece], deadline: float | None) -> Iterable[Piece]:
    """Return the pieces of a reply, each made before the deadline. The iterator raises TimedOut."""
    return pieces if deadline is None or isinstance(pieces, tuple) else _checked(pieces, deadline)


def _checked(pieces: Iterable[Piece], deadline: float) -> Iterator[Piece]:
    for piece in pieces:
        if time.monotonic() > deadline:
            raise TimedOut("The reply was not written in time; nothing of it is kept.")
        yield piece


_LONG = 2**16
"""Bytes of a body from which its deadline is read before the rest."""


def _early_deadline(call: Call, latest: float | None) -> float | None:
    """Return the deadline of a body that is not decoded yet, if it is found. The decoder refuses an invalid one."""
    found = call.reads.early_timeout(call.body)
    return _deadline(0, found, latest) if type(found) is int and 0 < found <= 2**53 else latest


def _deadline(spent: float, timeout_ms: int | None, latest: float | None) -> float | None:
    if timeout_ms is None:
        return latest
    wanted = time.monotonic() - spent + timeout_ms / 1000
    return wanted if latest is None else min(wanted, latest)
