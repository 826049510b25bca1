"""The way of a request, bytes to bytes: read, type, plan, run, encode. It knows nothing of HTTP.

A structure is read and planned once: plans are kept by the request's skeleton and its tensors' types. The routes call
it through `app.pool`, the command line calls it directly.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, NamedTuple

from app.cache import Cache
from app.errors import Busy, InvalidRequest, TimedOut
from app.operations import OPERATIONS, Leaves, Members, Operation
from app.plans import Plan
from app.schemas.readers import MAX_FAULTS, Reading, Refused, TooManyFaults
from app.schemas.requests import SECTIONS
from app.schemas.tensor import TensorForm
from app.settings import Settings
from app.values import Array, Source, decode_values, value_faults
from app.wire.codec import JSON, Codec
from app.wire.document import Document
from engine.errors import DeadlineExceeded, Fault, GraphError, ValueFault
from engine.program import Leaf, Program
from engine.types import DTYPES, DType

Key = tuple[Any, ...]

_DTYPES = {dtype.numpy: dtype for dtype in DTYPES.values()}


@dataclass(frozen=True, slots=True)
class Structure:
    """A request without values: its members as they were read, and what is said of its tensors.

    `key` identifies it.
    """

    operation: Operation
    key: Key
    members: Members
    tensors: Mapping[Source, TensorForm]

    @property
    def dtype(self) -> DType:
        """The dtype of numbers that name none."""
        dtype: DType = self.members["graph"].dtype
        return dtype

    @property
    def weight(self) -> int:
        """How much there is to keep of it."""
        return len(self.members["graph"].ops) + len(self.tensors)


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it arrived: the operation, the body, and the codecs of the body and of the reply."""

    operation: str
    body: bytes
    reads: Codec = JSON
    writes: Codec = JSON


class Timings(NamedTuple):
    """Seconds that the phases of an answer took, in the order in which they ran; `kept`: its plan was there already."""

    parse: float
    plan: float
    run: float
    encode: float
    kept: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """The reply to a call, and what its phases took."""

    body: bytes
    timings: Timings


class Evaluator:
    """Answers requests of every operation. Several threads may use it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limits = settings.engine_limits()
        self._structures: Cache[Key, Structure] = Cache(settings.cached_plans, settings.cached_ops)
        self._plans: Cache[Key, Plan] = Cache(settings.cached_plans, settings.cached_ops)

    def answer(self, call: Call, deadline: float | None = None) -> Answer:
        """Return the reply to a request. `deadline` is a moment of time.monotonic(). Raises Problem."""
        began = time.perf_counter()
        asked = OPERATIONS[call.operation]
        document = call.reads.read(call.body, SECTIONS, asked.volatile)
        try:
            structure = self._structure(
                asked, (call.operation, blake2b(document.key, digest_size=20).digest()), document
            )
            options = asked.options(document.options, self._reading())
            arrays = decode_values(document, structure.tensors, structure.dtype)
        except (Refused, TooManyFaults, InvalidRequest):
            raise InvalidRequest(self._faults(asked, document, deadline)) from None
        parsed = time.perf_counter()
        deadline = _deadline(parsed - began, options["timeout_ms"], deadline)
        plan, kept = self._plan(document, structure, arrays, deadline)
        planned = time.perf_counter()
        with self._bounds(deadline):
            members = plan.members(arrays, options, deadline)
        ran = time.perf_counter()
        if asked.warns:
            members["warnings"] = plan.warnings
        if options["dag"]:
            members["dag"] = plan.dag
        body = call.writes.write(members, options["encoding"])
        encoded = time.perf_counter()
        return Answer(body, Timings(parsed - began, planned - parsed, ran - planned, encoded - ran, kept))

    def _reading(self) -> Reading:
        return Reading(self._settings.max_tensors, self._settings.max_ops)

    def _structure(self, operation: Operation, key: Key, document: Document) -> Structure:
        """Return the structure, read before or now. Raises Refused, TooManyFaults, InvalidRequest."""
        structure = self._structures.get(key)
        if structure is None:
            reading = self._reading()
            structure = _read(operation, key, document, reading)
            if reading.faults:
                raise InvalidRequest(reading.faults)
            self._structures.put(key, structure, structure.weight)
        return structure

    def _faults(self, operation: Operation, document: Document, deadline: float | None) -> list[Fault]:
        """Return all that is wrong with a request: its structure, its values, else its graph."""
        reading = self._reading()
        structure = None
        with suppress(Refused, TooManyFaults):
            structure = _read(operation, (), document, reading)
        faults = [*reading.faults, *value_faults(document)]
        if structure is not None and len(faults) == len(reading.faults):
            try:
                arrays = decode_values(document, structure.tensors, structure.dtype)
                self._made(document, structure, arrays, deadline)
            except InvalidRequest as error:
                faults.extend(error.faults)
        return faults[:MAX_FAULTS]

    def _plan(
        self, document: Document, structure: Structure, arrays: Mapping[Source, Array], deadline: float | None
    ) -> tuple[Plan, bool]:
        """Return the plan, and whether it was kept from a request before."""
        key = (structure.key, tuple([(array.dtype.char, array.shape) for array in arrays.values()]))
        plan = self._plans.get(key)
        if plan is not None:
            return plan, True
        plan = self._made(document, structure, arrays, deadline)
        self._plans.put(key, plan, structure.weight)
        return plan, False

    def _made(
        self, document: Document, structure: Structure, arrays: Mapping[Source, Array], deadline: float | None
    ) -> Plan:
        leaves = _leaves(structure, arrays)
        graph = structure.members["graph"]
        program = Program({name: leaves["tensors", name] for name in graph.tensors}, graph.ops, graph.dtype)
        request = structure.operation.request(structure.members, leaves)
        try:
            with self._bounds(deadline):
                return structure.operation.plan(program, request, self._limits, deadline)
        except GraphError as error:
            faults = (replace(fault, path=document.locate(fault.path)) for fault in error.faults[:MAX_FAULTS])
            raise InvalidRequest(faults) from None

    @contextmanager
    def _bounds(self, deadline: float | None) -> Iterator[None]:
        """Let the engine work inside. What stops it there becomes a problem, faults of the graph excepted."""
        try:
            _check(deadline)
            yield
        except ValueFault as error:
            raise InvalidRequest([error.fault]) from None
        except DeadlineExceeded:
            raise TimedOut("The computation did not end in time; nothing of it is kept.") from None
        except MemoryError:
            detail = "The server has no memory for this computation now."
            raise Busy(detail, self._settings.retry_after_s) from None


def _check(deadline: float | None) -> None:
    if deadline is not None and time.monotonic() > deadline:
        raise DeadlineExceeded("the deadline passed before the work began")


def _deadline(spent: float, timeout_ms: int | None, latest: float | None) -> float | None:
    if timeout_ms is None:
        return latest
    wanted = time.monotonic() - spent + timeout_ms / 1000
    return wanted if latest is None else min(wanted, latest)


def _read(operation: Operation, key: Key, document: Document, reading: Reading) -> Structure:
    """Read the request's structure and its options. Raises Refused, TooManyFaults."""
    whole = {**document.skeleton, **document.options} if type(document.skeleton) is dict else document.skeleton
    members = operation.record.read(whole, (), reading)
    return Structure(operation, key, members, _forms(members))


def _forms(members: Members) -> dict[Source, TensorForm]:
    """Return what is said of the request's tensors."""
    held = {**members, "tensors": members["graph"].tensors}
    forms = (((section, name), form) for section in SECTIONS for name, form in (held.get(section) or {}).items())
    return {source: form for source, form in forms if form is not None}


def _leaves(structure: Structure, arrays: Mapping[Source, Array]) -> Leaves:
    """Return the tensors' types: those of their values, or what is said where they have none."""
    forms = structure.tensors
    given = {
        source: Leaf(_DTYPES[array.dtype], array.shape, forms[source].requires_grad) for source, array in arrays.items()
    }
    typed = {
        source: Leaf(form.dtype or structure.dtype, form.shape, form.requires_grad)
        for source, form in forms.items()
        if form.typed and form.shape is not None
    }
    return {**given, **typed}
