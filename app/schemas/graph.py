"""The structure of a graph: leaves, and calls of ops in any order. Contract, section 2.

`GRAPH` reads what stands under `graph` once the tensors' values have been taken out of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.schemas.argument import ATTRIBUTES, Inputs
from app.schemas.readers import ByName, Flag, Name, Reading, Refused, Schema, Text, read_all, short, wrong_kind
from app.schemas.record import Member, Record
from app.schemas.tensor import GRAPH_DTYPES, DTypeName, TensorForm, TensorReader
from engine.errors import Path
from engine.program import Call
from engine.types import DType


@dataclass(frozen=True, slots=True)
class GraphForm:
    """A graph without its tensors' values."""

    tensors: Mapping[str, TensorForm]
    ops: tuple[Call, ...]
    dtype: DType


@dataclass(frozen=True, slots=True)
class _Output:
    """The name of an op's result, or the names of its results; null skips one."""

    def read(self, value: Any, path: Path, reading: Reading) -> str | tuple[str | None, ...]:
        """Return the name or the names."""
        if type(value) is str:
            return Name().read(value, path, reading)
        if type(value) is not list:
            wrong_kind(reading, path, value, "a name or a list of names")
        if all(name is None for name in value):
            reading.refuse(path, "empty_list", "`output` names no result", "Name at least one result.")
        return tuple(read_all(_NameOrNull(), enumerate(value), path, reading))

    def schema(self) -> Schema:
        """Return the JSON schema."""
        names = {"type": "array", "items": _NameOrNull().schema(), "minItems": 1}
        return {"anyOf": [Name().schema(), names]}


@dataclass(frozen=True, slots=True)
class _NameOrNull:
    """A name, or null for a result that is skipped."""

    def read(self, value: Any, path: Path, reading: Reading) -> str | None:
        """Return the name or None."""
        return None if value is None else Name().read(value, path, reading)

    def schema(self) -> Schema:
        """Return the JSON schema."""
        return {"anyOf": [Name().schema(), {"type": "null"}]}


_OP = Record(
    "an op",
    {
        "op": Member(Text(), "the op's public name; GET /v1/ops lists them", required=True),
        "inputs": Member(Inputs(), "its arguments, by position or by parameter name", default=[]),
        "attributes": Member(ATTRIBUTES, "its keyword arguments that are no tensors", default={}),
        "output": Member(_Output(), "the name of its result, or the names of its results", required=True),
        "no_grad": Member(Flag(), "whether it is computed without being recorded", default=False),
    },
)


@dataclass(frozen=True, slots=True)
class _OpReader:
    """One call of an op."""

    def read(self, value: Any, path: Path, reading: Reading) -> Call:
        """Return the call."""
        return Call(**_OP.read(value, path, reading))

    def schema(self) -> Schema:
        """Return the JSON schema."""
        return {"$ref": "#/components/schemas/Op"}


@dataclass(frozen=True, slots=True)
class _Ops:
    """The calls of a graph."""

    def read(self, value: Any, path: Path, reading: Reading) -> tuple[Call, ...]:
        """Return the calls, in the order in which they stand."""
        if type(value) is not list:
            wrong_kind(reading, path, value, "a list of ops")
        _refuse_excess(len(value), reading.max_ops, "ops", path, reading)
        return tuple(read_all(_OpReader(), enumerate(value), path, reading))

    def schema(self) -> Schema:
        """Return the JSON schema."""
        return {"type": "array", "items": _OpReader().schema()}


@dataclass(frozen=True, slots=True)
class _Tensors:
    """The leaves of a graph."""

    item: TensorReader = field(default_factory=TensorReader)

    def read(self, value: Any, path: Path, reading: Reading) -> dict[str, TensorForm]:
        """Return what is said of each leaf besides its values."""
        if type(value) is dict:
            _refuse_excess(len(value), reading.max_tensors, "tensors", path, reading)
        return self._by_name().read(value, path, reading)

    def schema(self) -> Schema:
        """Return the JSON schema."""
        return self._by_name().schema()

    def _by_name(self) -> ByName[TensorForm]:
        return ByName(self.item)


def _refuse_excess(count: int, limit: int, what: str, path: Path, reading: Reading) -> None:
    if count > limit:
        hint = f"The server takes at most {limit}; GET /v1/limits lists its limits."
        reading.refuse(path, f"too_many_{what}", f"the graph has {count} {what}", hint)


def _graph(title: str, tensors: _Tensors) -> Record:
    return Record(
        title,
        {
            "dtype": Member(DTypeName(GRAPH_DTYPES), "the dtype of tensors that name none", default="float64"),
            "tensors": Member(tensors, "the leaves, by name", required=True),
            "ops": Member(_Ops(), "the calls, in any order", default=[]),
        },
    )


_GRAPH = _graph("a graph", _Tensors())
_BARE = _graph("a graph whose tensors may lack values", _Tensors(TensorReader(bare=True)))
_OPEN = _graph("a graph whose tensors may lack values and sizes", _Tensors(TensorReader(bare=True, open=True)))


@dataclass(frozen=True, slots=True)
class GraphReader:
    """A graph. Names of tensors and of outputs share one space.

    Where it may be `bare`, tensors need no values; where it may be `open`, not even all sizes.
    """

    bare: bool = False
    open: bool = False

    def read(self, value: Any, path: Path, reading: Reading) -> GraphForm:
        """Return the graph without its tensors' values."""
        repeated = type(value) is dict and _note_repeated_names(value, path, reading)
        form = GraphForm(**self._record.read(value, path, reading))
        if repeated:
            raise Refused
        return form

    @property
    def _record(self) -> Record:
        return _OPEN if self.open else _BARE if self.bare else _GRAPH

    def schema(self) -> Schema:
        """Return the JSON schema."""
        name = "OpenGraph" if self.open else "GraphType" if self.bare else "Graph"
        return {"$ref": f"#/components/schemas/{name}"}


def _note_repeated_names(graph: dict[str, Any], path: Path, reading: Reading) -> bool:
    """Look at names alone, whatever else may be wrong with the graph. Return whether some are repeated."""
    known = len(reading.faults)
    tensors = graph.get("tensors")
    seen = set(tensors) if type(tensors) is dict else set()
    for name, at in _outputs(graph.get("ops"), (*path, "ops")):
        if name in seen:
            hint = "Names of tensors and of outputs share one space; rename one."
            reading.note(at, "duplicate_name", f"the name {short(name)} is taken", hint)
        seen.add(name)
    return len(reading.faults) > known


def _outputs(ops: Any, path: Path) -> Iterator[tuple[str, Path]]:
    for index, op in enumerate(ops if type(ops) is list else ()):
        output = op.get("output") if type(op) is dict else None
        if type(output) is str:
            yield output, (*path, index, "output")
        elif type(output) is list:
            yield from ((name, (*path, index, "output", at)) for at, name in enumerate(output) if type(name) is str)


OP: Schema = _OP.schema()
GRAPH: Schema = _GRAPH.schema()
GRAPH_TYPE: Schema = _BARE.schema()
OPEN_GRAPH: Schema = _OPEN.schema()
