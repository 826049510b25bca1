"""The members of each call's request, one table a call. Contract, sections 3 and 5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.schemas.graph import GraphReader
from app.schemas.readers import ByName, Choice, Flag, Name, Names, Reading, Real, Schema, Whole, wrong_kind
from app.schemas.record import Member, Record
from app.schemas.tensor import SeedReader, TensorForm, TensorReader
from engine.errors import Path

SECTIONS: Mapping[str, Path] = {
    "tensors": ("graph", "tensors"),
    "backward": ("backward",),
    "accumulate": ("accumulate",),
    "tangents": ("tangents",),
    "vectors": ("vectors",),
}
"""The objects of a request that hold tensors, and where they stand."""


@dataclass(frozen=True, slots=True)
class _Backward:
    """The roots: a name, a list of names, or an object: name to seed."""

    bare: bool = False

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
        return self._seeds().read(value, path, reading)

    def schema(self) -> Schema:
        """Return the JSON schema."""
        return {"anyOf": [Name().schema(), Names(least=1).schema(), self._seeds().schema()]}

    def _seeds(self) -> ByName[TensorForm | None]:
        return ByName(SeedReader(bare=self.bare))


_RUN = {
    "encoding": Member(Choice(("json", "base64")), "how tensors' data are written in the reply", "json", volatile=True),
    "seed": Member(Whole(0, 2**63 - 1), "what random ops draw from", 0, volatile=True),
    "timeout_ms": Member(Whole(1, 2**53), "this request's deadline, at most the server's", volatile=True),
}
_COMMON = {
    "vmap": Member(ByName(Whole(-(2**31), 2**31 - 1)), "name to axis: the computation runs once per index of it", {}),
    "randomness": Member(
        Choice(("different", "same")), "whether random ops draw anew for each index of the mapped axis", "different"
    ),
    "checkpoint": Member(Names(), "results between which values are recomputed instead of kept", []),
    "detect_anomaly": Member(Flag(), "whether to fail where a value or a gradient stops being finite", default=False),
    **_RUN,
}
_OUTPUTS = Member(Names(), "names to return values of; by default every output that no op consumes")
_OUTPUT = Member(Name(), "the scalar to differentiate; by default the one output that no op consumes")
_WRT = Member(Names(), "names to differentiate by; by default every leaf with `requires_grad`")
_DIRECTIONS = ByName(TensorReader(held=True))


def _call(title: str, members: Mapping[str, Member], *, dag: bool = False, bare: bool = False) -> Record:
    """Return the table of a call: the graph, the members of its own, and those that every call takes."""
    return Record(
        title,
        {
            "graph": Member(GraphReader(bare), "the computation", required=True),
            **members,
            "dag": Member(Flag(), "whether to return the DAG", default=dag, volatile=True),
            **_COMMON,
        },
    )


def _gradients(*, bare: bool = False) -> dict[str, Member]:
    """Return the members of a request for gradients; tensors that may be `bare` need no values."""
    accumulated = ByName(TensorReader(held=True, bare=bare))
    return {
        "backward": Member(_Backward(bare), "the roots; by default the one output that no op consumes, if a scalar"),
        "wrt": Member(Names(), "names to return gradients for; by default every leaf with `requires_grad`"),
        "outputs": _OUTPUTS,
        "accumulate": Member(accumulated, "gradients that the new ones are added to", {}),
        "unreached": Member(Choice(("null", "zeros", "error")), "what a `wrt` that no root depends on gets", "null"),
    }


GRADIENTS = _call("a gradients request", _gradients(), dag=True)

EXPLAIN = _call("an explain request", _gradients(bare=True), dag=True, bare=True)

CHECK = _call(
    "a check request",
    {
        **_gradients(),
        "eps": Member(Real(positive=True), "the step of the differences; by default one that suits each element"),
        "rtol": Member(Real(), "how far apart two derivatives may be, as a part of the larger one", 1e-5),
        "atol": Member(Real(), "how far apart two derivatives may be besides", 1e-7),
    },
)

REGISTRATION = Record(
    "a registration",
    {"graph": Member(GraphReader(bare=True, open=True), "the computation; tensors may lack values", required=True)},
)

FORWARD = _call("a forward request", {"outputs": _OUTPUTS})

JVP = _call(
    "a jvp request",
    {
        "tangents": Member(_DIRECTIONS, "the direction: for each name a tensor of its shape", required=True),
        "outputs": Member(Names(), "names to return values and tangents of; by default those that no op consumes"),
    },
)

JACOBIAN = _call(
    "a jacobian request",
    {
        "outputs": Member(Names(), "names to differentiate; by default every output that no op consumes"),
        "wrt": _WRT,
        "mode": Member(Choice(("auto", "reverse", "forward")), "row by row, column by column, or the cheaper", "auto"),
    },
)

HESSIAN = _call("a hessian request", {"output": _OUTPUT, "wrt": _WRT})

HVP = _call(
    "an hvp request",
    {
        "vectors": Member(_DIRECTIONS, "what the Hessian is multiplied with, by input", required=True),
        "output": _OUTPUT,
    },
)
