"""Registration of graphs: reads the body of POST /v1/graphs, types the graph as far as sizes are known, normalises it.

The routes call it. Its faults and their pointers are the same as in any request with a graph.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from app.errors import InvalidRequest, TimedOut
from app.graphs.registered import normalised
from app.graphs.store.store import StoredGraph
from app.schemas.faults import MAX_FAULTS
from app.schemas.faults import read as validated
from app.schemas.graph import GraphForm
from app.schemas.requests import SECTIONS, RegistrationRequest
from app.schemas.tensor import TensorForm
from app.settings import Settings
from app.wire.codec import Codec
from app.wire.document import Document
from app.wire.values import Array, decode_values, value_faults
from engine import (
    DTYPES,
    DeadlineExceeded,
    DType,
    Fault,
    GraphError,
    Leaf,
    Limits,
    Path,
    Program,
    Shape,
    output_names,
    references,
    trace,
)

_SECTIONS = {"tensors": SECTIONS["tensors"]}


def read(body: bytes, codec: Codec, settings: Settings, deadline: float | None) -> tuple[StoredGraph, list[str]]:
    """Return the graph for the store, and the sorted names of the tensors without values. Raises ProblemError."""
    document = codec.read(body, _SECTIONS, frozenset())
    _check(deadline)
    try:
        graph = _graph(document, settings)
        _check(deadline)
        forms = {("tensors", name): form for name, form in graph.tensors.items()}
        values = decode_values(document, forms, graph.dtype)
    except InvalidRequest:
        _check(deadline)
        raise InvalidRequest(_faults(document.whole(), settings)) from None
    arrays = {name: array for (_, name), array in values.items()}
    try:
        faults = graph_faults(graph, arrays, settings.engine_limits(), deadline)
    except DeadlineExceeded:
        raise _late() from None
    if faults:
        raise InvalidRequest(faults[:MAX_FAULTS])
    _check(deadline)
    kept = normalised(graph, arrays)
    if kept.bytes > settings.max_graph_bytes:
        detail = f"the graph has {kept.bytes} bytes, over the limit of {settings.max_graph_bytes}"
        hint = "Leave `data` out of the tensors that every call gives anyway."
        raise InvalidRequest([Fault(("graph",), "graph_bytes_limit", detail, hint)])
    return kept, sorted(graph.tensors.keys() - arrays.keys())


def _check(deadline: float | None) -> None:
    if deadline is not None and time.monotonic() > deadline:
        raise _late()


def _late() -> TimedOut:
    return TimedOut("The graph was not looked through in time; it is not registered.")


_LENGTHS = struct.Struct("<QQ")


def packed(kept: StoredGraph, needs: list[str]) -> bytes:
    """Return the results of `read` as bytes, for another process."""
    named = orjson.dumps([kept.id, needs])
    return b"".join([_LENGTHS.pack(len(named), len(kept.text)), named, kept.text, kept.data])


def unpacked(written: bytes | memoryview) -> tuple[StoredGraph, list[str]]:
    """Return the graph for the store, and the names of the tensors without values, from the bytes of `packed`."""
    named_size, text_size = _LENGTHS.unpack_from(written)
    rest = memoryview(written)[_LENGTHS.size :]
    graph_id, needs = orjson.loads(rest[:named_size])
    text, data = rest[named_size : named_size + text_size], rest[named_size + text_size :]
    return StoredGraph(graph_id, bytes(text), bytes(data)), needs


def _faults(document: Document, settings: Settings) -> list[Fault]:
    """Return the faults of the request's structure and values."""
    faults: list[Fault] = []
    try:
        _graph(document, settings)
    except InvalidRequest as error:
        faults.extend(error.faults)
    return [*faults, *value_faults(document)][:MAX_FAULTS]


def _graph(document: Document, settings: Settings) -> GraphForm:
    limits = {"max_tensors": settings.max_tensors, "max_ops": settings.max_ops}
    graph: Any = validated(RegistrationRequest, document.skeleton, limits).graph
    form: GraphForm = graph
    return form


_WRITTEN = frozenset(
    {
        "cycle",
        "duplicate_name",
        "repeated_argument",
        "tensor_in_attributes",
        "too_many_arguments",
        "unknown_op",
        "unknown_parameter",
        "unknown_tensor",
    }
)
"""Codes of faults in the text of a graph. They do not depend on dtypes or sizes."""

_TYPED = frozenset(
    {
        "argument_length",
        "argument_type",
        "complex_not_offered",
        "dtype",
        "dtype_not_offered",
        "missing_argument",
        "not_differentiable",
        "rank_limit",
        "unknown_choice",
        "unknown_dtype",
    }
)
"""Codes of faults of dtypes and arguments. Sizes affect them only through ops that drop dimensions, like `squeeze`."""

_TRIALS = 4
"""Maximum number of sizes that are tried for open dimensions."""


def graph_faults(graph: GraphForm, arrays: Mapping[str, Array], limits: Limits, deadline: float | None) -> list[Fault]:
    """Return the faults that a graph has for every size of its open dimensions. Raises DeadlineExceeded.

    Without open dimensions these are all faults of typing. Else the graph is typed with a few trial sizes. A fault
    holds for every size in three cases: its code is in `_WRITTEN`; every trial has it, and its code is in `_TYPED`;
    every trial has it, and no open tensor affects it. Shape mismatches depend on the size, so calls report them.
    """
    trials = [_typed(graph, arrays, size, limits, deadline) for size in _sizes(graph, arrays)]
    if len(trials) == 1:
        return trials[0]
    everywhere = set.intersection(*({(fault.path, fault.code) for fault in faults} for faults in trials))
    undecided = _undecided(graph)
    holding = {
        (fault.path, fault.code): fault
        for faults in reversed(trials)
        for fault in faults
        if fault.code in _WRITTEN
        or ((fault.path, fault.code) in everywhere and (fault.code in _TYPED or fault.path[:3] not in undecided))
    }
    return list(holding.values())


def _sizes(graph: GraphForm, arrays: Mapping[str, Array]) -> list[int]:
    """Return the trial sizes: small ones, and sizes from the graph, which fit where other sizes do not."""
    if all(form.pattern is None for form in graph.tensors.values()):
        return [1]
    written = {size for array in arrays.values() for size in array.shape}
    written |= {size for form in graph.tensors.values() for size in form.pattern or form.shape or () if size}
    return [1, 2, *sorted(written - {0, 1, 2})][:_TRIALS]


def _typed(
    graph: GraphForm, arrays: Mapping[str, Array], size: int, limits: Limits, deadline: float | None
) -> list[Fault]:
    """Return the faults of typing with `size` for every open dimension."""
    leaves = {
        name: Leaf(
            _dtype(form, arrays.get(name), graph.dtype), _shape(form, arrays.get(name), size), form.requires_grad
        )
        for name, form in graph.tensors.items()
    }
    try:
        trace(Program(leaves, graph.ops, graph.dtype), limits, deadline=deadline)
    except GraphError as error:
        return list(error.faults)
    return []


def _dtype(form: TensorForm, array: Array | None, default: DType) -> DType:
    return (form.dtype or default) if array is None else DTYPES[array.dtype.name]


def _shape(form: TensorForm, array: Array | None, size: int) -> Shape:
    if array is not None:
        form = replace(form, shape=array.shape)
    return form.shape or tuple(size if given is None else given for given in form.pattern or ())


def _undecided(graph: GraphForm) -> set[Path]:
    """Return the paths of the open tensors, and of the ops that depend on one of them, directly or indirectly."""
    users: dict[str, list[int]] = {}
    for index, call in enumerate(graph.ops):
        for _, ref in references(call):
            users.setdefault(ref.name, []).append(index)
    names = [name for name, form in graph.tensors.items() if form.pattern is not None]
    found: set[Path] = {("graph", "tensors", name) for name in names}
    while names:
        for index in users.get(names.pop(), ()):
            place: Path = ("graph", "ops", index)
            if place not in found:
                found.add(place)
                names.extend(name for name in output_names(graph.ops[index]) if name is not None)
    return found
