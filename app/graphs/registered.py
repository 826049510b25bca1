"""Registered graphs: normal form, id, and a cache of graphs ready to be called.

Equivalent requests have one normal form. The order of members, omitted defaults, numbers as 1 or 1.0, and values as
nested lists, flat lists or bytes make no difference. Ops keep their order, because they run and accumulate gradients in
that order. A number in an op's arguments stays an integer or a float: ops distinguish them.

The normal form is JSON in ASCII with sorted members and no spaces. It contains the SHA-256 of the little-endian bytes
of each tensor's values. The id is the SHA-256 of the normal form. A change of the normal form changes every id, so a
test has example ids. `app.graphs.registration` writes the normal form, `app.evaluation.evaluator` and the routes read
it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import structlog
from pydantic import ValidationError

from app.cache import Cache, CacheUsage
from app.errors import NotFound, StoreUnavailable
from app.graphs.store.store import Store, StoredGraph
from app.schemas.faults import WORDS
from app.schemas.graph import OPEN_GRAPH, GraphForm
from app.schemas.tensor import TensorForm
from app.settings import Settings
from app.wire.reply import ReplyTensor
from engine import Argument, DType, OpCall, Ref

Array = np.ndarray[Any, Any]

_log = structlog.get_logger("gradd.store")

_WORDS = {value: word for word, value in WORDS.items() if not math.isnan(value)}


@dataclass(frozen=True, slots=True)
class Registered:
    """A registered graph, ready to be called.

    `graph` is the structure. `arrays` has the read-only values of the tensors that have values, by name. `sources` has
    the same values by section and name, like the values of a request.
    """

    id: str
    created: str
    graph: GraphForm
    arrays: Mapping[str, Array]
    sources: MappingProxyType[tuple[str, str], Array]

    @property
    def needs(self) -> list[str]:
        """The names of the tensors without values. Every call must give their values."""
        return [name for name in self.graph.tensors if name not in self.arrays]

    @property
    def weight(self) -> int:
        """The approximate bytes of memory that the graph takes."""
        calls = 500 * (len(self.graph.ops) + len(self.graph.tensors))
        return sum(array.nbytes for array in self.arrays.values()) + calls

    def shown(self) -> dict[str, Any]:
        """Return the members of a reply that shows the graph: its normal form, with the values."""
        tensors = {name: self._tensor(name, form) for name, form in self.graph.tensors.items()}
        graph = {"dtype": self.graph.dtype.name, "tensors": tensors, "ops": list(map(_op, self.graph.ops))}
        return {"id": self.id, "created": self.created, "needs": self.needs, "graph": graph}

    def _tensor(self, name: str, form: TensorForm) -> ReplyTensor | dict[str, Any]:
        array = self.arrays.get(name)
        if array is None:
            return _type(form, self.graph.dtype)
        return ReplyTensor(array, {"requires_grad": form.requires_grad})


def normalised(graph: GraphForm, arrays: Mapping[str, Array]) -> StoredGraph:
    """Return the graph for the store: its normal form, and the values of the tensors that have values."""
    values = {name: _bytes(arrays[name]) for name in sorted(arrays)}
    tensors: dict[str, Any] = {}
    for name, form in graph.tensors.items():
        if name in values:
            array = arrays[name]
            known = {"dtype": array.dtype.name, "shape": list(array.shape), "requires_grad": form.requires_grad}
            tensors[name] = {**known, "data": hashlib.sha256(values[name]).hexdigest()}
        else:
            tensors[name] = _type(form, graph.dtype)
    structure = {"dtype": graph.dtype.name, "tensors": tensors, "ops": list(map(_op, graph.ops))}
    text = json.dumps(structure, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")
    return StoredGraph(_id(text), text, b"".join(values.values()))


def _id(text: bytes) -> str:
    return f"sha256-{hashlib.sha256(text).hexdigest()}"


def _type(form: TensorForm, default: DType) -> dict[str, Any]:
    shape = form.shape if form.pattern is None else form.pattern
    return {"dtype": (form.dtype or default).name, "shape": list(shape or ()), "requires_grad": form.requires_grad}


def _bytes(array: Array) -> bytes:
    """Return the values' bytes, little-endian and row-major. All NaNs get the same bits, as in JSON."""
    if array.dtype.kind == "f" and np.isnan(array).any():
        array = np.where(np.isnan(array), np.array(np.nan, array.dtype), array)
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _op(call: OpCall) -> dict[str, Any]:
    return {
        "op": call.op,
        "inputs": _arguments(call.inputs) if isinstance(call.inputs, Mapping) and call.inputs else _list(call.inputs),
        "attributes": _arguments(call.attributes),
        "output": call.output if isinstance(call.output, str) else list(call.output),
        "no_grad": call.no_grad,
    }


def _arguments(arguments: Mapping[str, Argument]) -> dict[str, Any]:
    return {name: _argument(arguments[name]) for name in sorted(arguments)}


def _list(arguments: Any) -> list[Any]:
    return [_argument(argument) for argument in arguments]


def _argument(argument: Argument) -> Any:
    if isinstance(argument, tuple):
        return _list(argument)
    if isinstance(argument, Ref):
        return argument.name
    if isinstance(argument, float) and not math.isfinite(argument):
        return {"number": _WORDS.get(argument, "NaN")}
    return argument


class _Damaged(Exception):
    """The content of a stored graph does not match its id."""


def restored(kept: StoredGraph) -> Registered:
    """Return a stored graph, ready to be called. Verifies the hashes. Raises _Damaged."""
    if _id(kept.text) != kept.id:
        raise _Damaged
    structure = json.loads(kept.text)
    try:
        graph = OPEN_GRAPH.validate_python(structure)
    except ValidationError:
        raise _Damaged from None
    arrays = dict(_arrays(structure["tensors"], graph, kept.data))
    sources = {("tensors", name): array for name, array in arrays.items()}
    return Registered(kept.id, kept.created, graph, MappingProxyType(arrays), MappingProxyType(sources))


def _arrays(tensors: Mapping[str, Any], graph: GraphForm, data: bytes) -> Iterator[tuple[str, Array]]:
    """Yield name and array of the tensors that have values, in the order of the stored bytes. Raises _Damaged."""
    rest = memoryview(data)
    for name in sorted(tensors):
        form = graph.tensors[name]
        if form.typed or form.shape is None or form.dtype is None:
            continue
        size = math.prod(form.shape) * form.dtype.itemsize
        values, rest = rest[:size], rest[size:]
        if hashlib.sha256(values).hexdigest() != tensors[name]["data"]:
            raise _Damaged
        array = np.frombuffer(values, form.dtype.numpy.newbyteorder("<")).reshape(form.shape).astype(form.dtype.numpy)
        array.flags.writeable = False
        yield name, array


class RegisteredGraphs:
    """The graphs of a store, with a cache of the last used ones. Thread-safe."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._retry_after_s = settings.retry_after_s
        self._ready: Cache[str, Registered] = Cache(settings.max_graphs, settings.cached_graph_bytes)

    @property
    def usage(self) -> CacheUsage:
        """The usage of the cache."""
        return self._ready.usage

    def is_ready(self, graph_id: str) -> bool:
        """Return whether the graph is in the cache, so that `get` returns at once."""
        return graph_id in self._ready

    def get(self, graph_id: str) -> Registered:
        """Return a graph from the cache or the store. Raises NotFound, StoreUnavailable."""
        found = self._ready.get(graph_id)
        if found is None:
            kept = self._store.get(graph_id)
            if kept is None:
                raise unknown(graph_id)
            try:
                found = restored(kept)
            except _Damaged:
                _log.error("registered graph is damaged", id=graph_id, store=self._store.name)
                detail = "What is kept of this graph is damaged. DELETE it and register it again."
                raise StoreUnavailable(detail, self._retry_after_s) from None
            self._ready.put(graph_id, found, found.weight)
        return found


def unknown(graph_id: str) -> NotFound:
    """Return the error for an id without a registered graph."""
    detail = f"No graph is registered as {graph_id[:100]!r}: it never was, or was deleted."
    return NotFound(detail, hint="POST the graph to /v1/graphs; the reply has its id.")
