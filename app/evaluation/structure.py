"""Structure of a request: the request without tensor values, and the locations of its faults in the request body.

A request contains a graph (`InlineGraph`) or calls a registered graph (`RegisteredCall`). Both request sources return
the same `Structure`. `app.evaluation.evaluator` calls them.
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
"""Limits of a graph: `max_tensors`, `max_ops`."""

_OP_BYTES = 2**9
"""Bytes for each op or tensor of a structure. Tested."""

_DTYPES = {dtype.numpy: dtype for dtype in DTYPES.values()}


@dataclass(frozen=True, slots=True)
class Structure:
    """The validated members of a request, including the graph, without tensor values.

    `sent` contains the forms of the tensors in the request; `tensors` also contains the forms of registered tensors.
    `key` identifies the structure.
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
        """The default dtype of the graph."""
        return self.graph.dtype

    @property
    def ops(self) -> int:
        """The number of ops and tensors."""
        return len(self.graph.ops) + len(self.tensors)

    @property
    def weight(self) -> int:
        """An upper bound on the bytes of the structure."""
        return _OP_BYTES * self.ops

    def leaves(self, arrays: Mapping[Source, Array]) -> Leaves:
        """Return the types of the tensors: of the values if there are values, else of the declared shape and dtype."""
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
    """Reads one request: its structure, its values, and the locations of its faults."""

    @property
    def operation(self) -> Operation:
        """The operation of the request."""
        ...

    @property
    def sections(self) -> Mapping[str, Path]:
        """The objects of the request that contain tensors, and their paths."""
        ...

    def key(self, digest: bytes) -> Key:
        """Return the cache key of the structure with this digest of its text."""
        ...

    def work(self, document: Document) -> float:
        """Return the predicted planning work, in ops."""
        ...

    def read(self, key: Key, document: Document, limits: Limits) -> Structure:
        """Return the validated structure and options. Raises InvalidRequest."""
        ...

    def value_faults(self, document: Document) -> Iterator[Fault]:
        """Yield the faults of the values of all tensors with a valid structure."""
        ...

    def complete(self, arrays: Mapping[Source, Array]) -> Mapping[Source, Array]:
        """Return the values in the request together with the registered values."""
        ...

    def check(self, structure: Structure, leaves: Leaves) -> None:
        """Compare the tensors in the request with the registered tensors. Raises InvalidRequest."""
        ...

    def locate(self, fault: Fault, document: Document) -> Fault:
        """Return the engine's fault with its path in the request body."""
        ...


@dataclass(frozen=True, slots=True)
class InlineGraph:
    """A request that contains its graph."""

    name: str
    operation: Operation
    sections: ClassVar[Mapping[str, Path]] = SECTIONS

    def key(self, digest: bytes) -> Key:
        """Return the cache key of the structure."""
        return self.name, digest

    def work(self, document: Document) -> float:
        """Return the predicted planning work, in ops."""
        return planning_work(document.ops, scalars(document.skeleton))

    def read(self, key: Key, document: Document, limits: Limits) -> Structure:
        """Return the validated structure. Raises InvalidRequest."""
        members = vars(read(self.operation.request, _whole(document), limits))
        forms = _forms(members, members["graph"].tensors)
        return Structure(self.operation, key, members, forms, forms)

    def value_faults(self, document: Document) -> Iterator[Fault]:
        """Yield the faults of the values."""
        return value_faults(document)

    def complete(self, arrays: Mapping[Source, Array]) -> Mapping[Source, Array]:
        """Return the values unchanged: the request contains all values."""
        return arrays

    def check(self, structure: Structure, leaves: Leaves) -> None:
        """Do nothing: there are no registered tensors to compare with."""

    def locate(self, fault: Fault, document: Document) -> Fault:
        """Return the fault with its path in the request body."""
        return replace(fault, path=document.locate(fault.path))


class RegisteredCall(NamedTuple):
    """A request that calls a registered graph.

    It is equivalent to an inline request with the registered graph, in which the sent tensors replace the registered.
    """

    name: str
    operation: Operation
    registered: Registered

    @property
    def sections(self) -> Mapping[str, Path]:
        """The objects of the request that contain tensors; `tensors` is at the top level."""
        return _CALLED_SECTIONS

    def key(self, digest: bytes) -> Key:
        """Return the cache key of the structure."""
        return self.name, self.registered.id, digest

    def work(self, document: Document) -> float:
        """Return the predicted planning work of the registered graph, in ops."""
        graph = self.registered.graph
        return planning_work(len(graph.ops), graph_items(graph) + scalars(document.skeleton))

    def read(self, key: Key, document: Document, limits: Limits) -> Structure:
        """Return the validated structure. Raises InvalidRequest."""
        graph = self.registered.graph
        given = vars(read(self.operation.call, _whole(document), {**limits, "registered": graph.tensors}))
        tensors = {**graph.tensors, **given["tensors"]}
        members = {**given, "graph": replace(graph, tensors=tensors)}
        return Structure(self.operation, key, members, _forms(given, given["tensors"]), _forms(given, tensors))

    def value_faults(self, document: Document) -> Iterator[Fault]:
        """Yield the faults of the values. The registered graph gives the dtypes."""
        return value_faults(document, self.registered.graph)

    def complete(self, arrays: Mapping[Source, Array]) -> Mapping[Source, Array]:
        """Return the registered values, replaced by the sent values of the same name."""
        return self.registered.sources | arrays

    def check(self, structure: Structure, leaves: Leaves) -> None:
        """Raise InvalidRequest if a sent shape differs from the registered shape. vmap may add the mapped axis."""
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

    def locate(self, fault: Fault, document: Document) -> Fault:
        """Return the fault with the path of a tensor in the request, or with the path of the member `tensors`."""
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
    """Return the skeleton and the options, which the document stores separately, as one object."""
    skeleton = document.skeleton
    return {**skeleton, **document.options} if type(skeleton) is dict else skeleton


def _forms(members: Members, tensors: Mapping[str, TensorForm]) -> dict[Source, TensorForm]:
    """Return the forms of the request's tensors by section and name."""
    held = {**members, "tensors": tensors}
    forms = (((section, name), form) for section in SECTIONS for name, form in (held.get(section) or {}).items())
    return {source: form for source, form in forms if form is not None}


def _seen(shape: Shape, axis: int | None) -> Iterator[Shape]:
    """Yield the shape, and the shape of one sample if an axis is mapped."""
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
