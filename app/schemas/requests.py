"""The members of each call's request, one table a call. Contract, sections 3 and 5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.schemas.graph import GraphReader
from app.schemas.readers import ByName, Choice, Flag, Name, Names, Reading, Schema, Whole, wrong_kind
from app.schemas.record import Member, Record
from app.schemas.tensor import SeedReader, TensorForm, TensorReader
from engine.errors import Path

SECTIONS: Mapping[str, Path] = {
    "tensors": ("graph", "tensors"),
    "backward": ("backward",),
    "accumulate": ("accumulate",),
}
"""The objects of a request that hold tensors, and where they stand."""


@dataclass(frozen=True, slots=True)
class _Backward:
    """The roots: a name, a list of names, or an object: name to seed."""

    def read(self, value: Any, path: Path, reading: Reading) -> dict[str, TensorForm | None]:
        """Return what is said of each root's seed; None stands for ones."""
        if type(value) is str:
            return {Name().read(value, path, reading): None}
        if type(value) is list:
            return dict.fromkeys(Names(least=1).read(value, path, reading))
        if type(value) is not dict:
            wrong_kind(reading, path, value, "a name, a list of names, or an object: name to seed")
        if not value:
            hint = "Name at least one root, or leave the member out."
            reading.refuse(path, "empty_list", "`backward` names no root", hint)
        return ByName(SeedReader()).read(value, path, reading)

    def schema(self) -> Schema:
        """Return the JSON schema."""
        return {"anyOf": [Name().schema(), Names(least=1).schema(), ByName(SeedReader()).schema()]}


_GRAPH = Member(GraphReader(), "the computation", required=True)
_OUTPUTS = Member(Names(), "names to return values of; by default every output that no op consumes")
_RUN = {
    "encoding": Member(Choice(("json", "base64")), "how tensors' data are written in the reply", "json", volatile=True),
    "seed": Member(Whole(0, 2**63 - 1), "what random ops draw from", 0, volatile=True),
    "timeout_ms": Member(Whole(1, 2**53), "this request's deadline, at most the server's", volatile=True),
}

GRADIENTS = Record(
    "a gradients request",
    {
        "graph": _GRAPH,
        "backward": Member(_Backward(), "the roots; by default the one output that no op consumes, if it is a scalar"),
        "wrt": Member(Names(), "names to return gradients for; by default every leaf with `requires_grad`"),
        "outputs": _OUTPUTS,
        "accumulate": Member(ByName(TensorReader(held=True)), "gradients that the new ones are added to", {}),
        "unreached": Member(Choice(("null", "zeros", "error")), "what a `wrt` that no root depends on gets", "null"),
        "checkpoint": Member(Names(), "results between which values are recomputed instead of kept", []),
        "detect_anomaly": Member(
            Flag(), "whether to fail where a value or a gradient stops being finite", default=False
        ),
        "dag": Member(Flag(), "whether to return the DAG", default=True, volatile=True),
        **_RUN,
    },
    later=("vmap",),
)

FORWARD = Record(
    "a forward request",
    {
        "graph": _GRAPH,
        "outputs": _OUTPUTS,
        "dag": Member(Flag(), "whether to return the DAG", default=False, volatile=True),
        **_RUN,
    },
    later=("vmap",),
)
