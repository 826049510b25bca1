"""A request without its values: how it is read, and how its faults are placed in what the client wrote.

A request brings its graph (`InlineGraph`) or calls one that is registered (`RegisteredCall`); both give the same
`Structure`, so that nothing after them knows the difference. `app.evaluation.evaluator` calls them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Protocol

from app.errors import InvalidRequest
from app.evaluation.operations.operation import Leaves, Members, Operation
from app.evaluation.planning_cost import graph_items, planning_work, scalars
from app.graphs.registered import Registered
from app.schemas.faults import MAX_FAULTS, read
from app.schemas.graph import GraphForm
from app.schemas.requests import SECTIONS, spelled_shape
from app.schemas.tensor import TensorForm
from app.wire.document import Document
from app.wire.values import Array, Source, value_faults
from engine import DTYPES, DType, Fault, Leaf, Path, Shape

Key = tuple[Any, ...]
Limits = dict[str, Any]
"""The most tensors and ops of a graph: `max_tensors`, `max_ops`."""

_OP_BYTES = 2**9
"""What is kept of an op or tensor. A test holds it."""

_DTYPES = {dtype.numpy: dtype for dtype in DTYPES.values()}


@dataclass(frozen=True, slots=True)
class Structure:
    """A request without values: its members as they were read, the graph among them.

    `sent` is what is said of the tensors that the request itself has, `tensors` of those and the registered ones.
    `key` identifies it.
    """

    operation: Operation
    key: Key
    members: Members
    sent: Mapping[Source, TensorForm]
    tensors: Mapping[Source, TensorForm]

    @property
    def graph(self) -> GraphForm:
        """The graph without its tensors' values."""
        graph: GraphForm = self.members["graph"]
        return graph

    @property
    def dtype(self) -> DType:
        """The dtype of numbers that name none."""
        return self.graph.dtype

    @property
    def ops(self) -> int:
        """How many ops and tensors it has."""
        return len(self.graph.ops) + len(self.tensors)

    @property
    def weight(self) -> int:
        """A bound on the bytes that it keeps."""
        return _OP_BYTES * self.ops

    def leaves(self, arrays: Mapping[Source, Array]) -> Leaves:
        """Return the tensors' types: what is said of them where they have no values, else those of the values."""
        forms = self.tensors
        given = {
            source: Leaf(_DTYPES[array.dtype], array.shape, forms[source].requires_grad)
            for source, array in arrays.items()
        }
        typed = {
            source: Leaf(form.dtype or self.dtype, form.shape, form.requires_grad)
            for source, form in forms.items()
            if form.typed and form.shape is not None
        }
        return {**given, **typed}


class RequestSource(Protocol):
    """How one request is read."""

    @property
    def operation(self) -> Operation:
        """What it asks for."""
        ...

    @property
    def sections(self) -> Mapping[str, Path]:
        """The objects of the request that hold tensors, and where they stand."""
        ...

    def key(self, digest: bytes) -> Key:
        """Return what identifies the structure whose text has a digest."""
        ...

    def work(self, document: Document) -> float:
        """Return how long planning is likely to take, in ops."""
        ...

    def read(self, key: Key, document: Document, limits: Limits) -> Structure:
        """Read the request's structure and its options. Raises InvalidRequest."""
        ...

    def value_faults(self, document: Document) -> Iterator[Fault]:
        """Yield the faults of the values of those tensors whose structure is sound."""
        ...

    def complete(self, arrays: Mapping[Source, Array]) -> Mapping[Source, Array]:
        """Return the values that were sent together with those that are registered."""
        ...

    def check(self, structure: Structure, leaves: Leaves) -> None:
        """Hold the tensors that were sent against those that are registered. Raises InvalidRequest."""
        ...

    def placed(self, fault: Fault, document: Document) -> Fault:
        """Return the engine's fault with the place in what the client wrote."""
        ...


@dataclass(frozen=True, slots=True)
class InlineGraph:
    """A request that brings its graph."""

    name: str
    operation: Operation
    sections: ClassVar[Mapping[str, Path]] = SECTIONS

    def key(self, digest: bytes) -> Key:
        """Return the key of a structure."""
        return self.name, digest

    def work(self, document: Document) -> float:
        """Return how long planning is likely to take, in ops."""
        return planning_work(document.ops, scalars(document.skeleton))

    def read(self, key: Key, document: Document, limits: Limits) -> Structure:
        """Read the request. Raises InvalidRequest."""
        members = vars(read(self.operation.request, _whole(document), limits))
        forms = _forms(members, members["graph"].tensors)
        return Structure(self.operation, key, members, forms, forms)

    def value_faults(self, document: Document) -> Iterator[Fault]:
        """Yield the faults of values."""
        return value_faults(document)

    def complete(self, arrays: Mapping[Source, Array]) -> Mapping[Source, Array]:
        """Return the values, all of which were sent."""
        return arrays

    def check(self, structure: Structure, leaves: Leaves) -> None:
        """Nothing is registered that tensors could differ from."""

    def placed(self, fault: Fault, document: Document) -> Fault:
        """Return the fault with its place."""
        return replace(fault, path=document.locate(fault.path))


class RegisteredCall(NamedTuple):
    """A request that calls a registered graph.

    It asks for what a request would that has the registered graph, with the tensors that it sends in it.
    """

    name: str
    operation: Operation
    registered: Registered

    @property
    def sections(self) -> Mapping[str, Path]:
        """The objects of the request that hold tensors, those of the graph in its place."""
        return _CALLED_SECTIONS

    def key(self, digest: bytes) -> Key:
        """Return the key of a structure."""
        return self.name, self.registered.id, digest

    def work(self, document: Document) -> float:
        """Return how long planning the registered graph is likely to take, in ops."""
        graph = self.registered.graph
        return planning_work(len(graph.ops), graph_items(graph) + scalars(document.skeleton))

    def read(self, key: Key, document: Document, limits: Limits) -> Structure:
        """Read the request. Raises InvalidRequest."""
        graph = self.registered.graph
        given = vars(read(self.operation.call, _whole(document), {**limits, "registered": graph.tensors}))
        tensors = {**graph.tensors, **given["tensors"]}
        members = {**given, "graph": replace(graph, tensors=tensors)}
        return Structure(self.operation, key, members, _forms(given, given["tensors"]), _forms(given, tensors))

    def value_faults(self, document: Document) -> Iterator[Fault]:
        """Yield the faults of values, of the dtypes that are registered."""
        return value_faults(document, self.registered.graph)

    def complete(self, arrays: Mapping[Source, Array]) -> Mapping[Source, Array]:
        """Return the registered values, and in their place those that were sent."""
        return self.registered.sources | arrays

    def check(self, structure: Structure, leaves: Leaves) -> None:
        """Refuse tensors of other shapes than are registered. Where vmap maps one, it may have that axis besides."""
        axes: Mapping[str, int] = structure.members["vmap"]
        faults = []
        for section, name in structure.sent:
            known = self.registered.graph.tensors.get(name)
            if section == "tensors" and known is not None:
                shape = leaves[section, name].shape
                if not any(_fits(seen, known) for seen in _seen(shape, axes.get(name))):
                    faults.append(_misfit(name, shape, known, structure.sent[section, name], mapped=name in axes))
        if faults:
            raise InvalidRequest(faults[:MAX_FAULTS])

    def placed(self, fault: Fault, document: Document) -> Fault:
        """Return the fault with its place: that of a tensor which was sent, else all that were sent."""
        if fault.path[:1] != ("graph",):
            return replace(fault, path=document.locate(fault.path))
        sent = document.skeleton.get("tensors") or {}
        if fault.path[1:2] == ("tensors",) and fault.path[2] in sent:
            return replace(fault, path=document.locate(fault.path[1:]))
        if len(fault.path) == 1:
            return replace(fault, path=("tensors",))
        at = "/".join(map(str, fault.path))
        return replace(fault, path=("tensors",), detail=f"at /{at} of the registered graph: {fault.detail}")


_CALLED_SECTIONS = {**SECTIONS, "tensors": ("tensors",)}


def _whole(document: Document) -> Any:
    """Return the skeleton with the options, which the document has apart."""
    skeleton = document.skeleton
    return {**skeleton, **document.options} if type(skeleton) is dict else skeleton


def _forms(members: Members, tensors: Mapping[str, TensorForm]) -> dict[Source, TensorForm]:
    """Return what is said of the request's tensors, by section and name."""
    held = {**members, "tensors": tensors}
    forms = (((section, name), form) for section in SECTIONS for name, form in (held.get(section) or {}).items())
    return {source: form for source, form in forms if form is not None}


def _seen(shape: Shape, axis: int | None) -> Iterator[Shape]:
    """Yield the shape as it is, and as one sample sees it where an axis is mapped."""
    yield shape
    if axis is not None and -len(shape) <= axis < len(shape):
        at = axis % len(shape)
        yield shape[:at] + shape[at + 1 :]


def _fits(shape: Shape, known: TensorForm) -> bool:
    pattern = known.shape if known.pattern is None else known.pattern
    return (
        pattern is not None
        and len(shape) == len(pattern)
        and all(wanted in {None, size} for size, wanted in zip(shape, pattern, strict=True))
    )


def _misfit(name: str, shape: Shape, known: TensorForm, sent: TensorForm, *, mapped: bool) -> Fault:
    path: Path = ("tensors", name) if sent.shorthand else ("tensors", name, "data" if sent.shape is None else "shape")
    wanted = spelled_shape(known)
    detail = f"the tensor has shape {list(shape)}, and it is registered with {wanted}"
    hint = f"Give one of shape {wanted}{', with the mapped axis besides' if mapped else ''}, or register another graph."
    return Fault(path, "shape_mismatch", detail, hint)
