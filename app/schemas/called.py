"""The tensors that a call of a registered graph sends in the graph's place, and the table of such a call.

Contract, section 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from app.schemas.graph import GraphReader
from app.schemas.readers import Reading, Refused, Schema, short, wrong_kind
from app.schemas.record import Member, Record
from app.schemas.tensor import TensorForm, TensorReader
from engine.errors import Path


@dataclass(frozen=True, slots=True)
class SentTensors:
    """Tensors by name, in the terms in which `registered` has them: of its dtype, and recorded as it says.

    Values may be left out where the graph has some. Where tensors may be `bare`, types are enough.
    """

    registered: Mapping[str, TensorForm] = field(default_factory=dict)
    bare: bool = False

    def read(self, value: Any, path: Path, reading: Reading) -> dict[str, TensorForm]:
        """Return what is said of the tensors that are sent, besides their values."""
        if type(value) is not dict:
            wrong_kind(reading, path, value, "an object, name to tensor")
        known = len(reading.faults)
        found = {}
        for name, given in value.items():
            try:
                found[name] = self._tensor(name, given, (*path, name), reading)
            except Refused:
                continue
        for name, form in self.registered.items():
            if name not in value and form.typed and not (self.bare and form.shape is not None):
                self._note_missing(name, form, path, reading)
        if len(reading.faults) > known:
            raise Refused
        return found

    def _tensor(self, name: str, given: Any, path: Path, reading: Reading) -> TensorForm:
        known = self.registered.get(name)
        if known is None:
            hint = reading.suggestions.did_you_mean(name, self.registered) or "GET the graph to see its tensors."
            reading.refuse(path, "unknown_tensor", f"the registered graph has no tensor {short(name)}", hint)
        form = TensorReader(bare=self.bare).read(given, path, reading)
        if form.dtype not in {None, known.dtype}:
            self._refuse_other("dtype", form.dtype, known.dtype, path, reading)
        if type(given) is dict and "requires_grad" in given and form.requires_grad != known.requires_grad:
            self._refuse_other("requires_grad", form.requires_grad, known.requires_grad, path, reading)
        return replace(form, dtype=known.dtype, requires_grad=known.requires_grad)

    def _refuse_other(self, member: str, given: Any, known: Any, path: Path, reading: Reading) -> None:
        detail = f"`{member}` is {_spelled(given)}, and this tensor is registered with {_spelled(known)}"
        hint = f"Leave `{member}` out, or register another graph."
        reading.refuse((*path, member), f"{member}_mismatch", detail, hint)

    def _note_missing(self, name: str, form: TensorForm, path: Path, reading: Reading) -> None:
        detail = f"{short(name)} is registered without values, and this call gives none"
        hint = f"Give it: {form.dtype} of shape {spelled_shape(form)}."
        reading.note((*path, name), "missing_value", detail, hint)

    def schema(self) -> Schema:
        """Return the JSON schema."""
        return {"type": "object", "additionalProperties": TensorReader(bare=self.bare).schema()}


def _spelled(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def spelled_shape(form: TensorForm) -> str:
    """Return a registered tensor's shape as JSON has it: null for a dimension of any size."""
    shape = form.shape if form.pattern is None else form.pattern
    return f"[{', '.join('null' if size is None else str(size) for size in shape or ())}]"


def called(record: Record, registered: Mapping[str, TensorForm] | None = None) -> Record:
    """Return the table of a call of a registered graph: `tensors` where a request has `graph`."""
    reader = record.members["graph"].reader
    assert isinstance(reader, GraphReader)
    sent = SentTensors(registered or {}, reader.bare)
    tensors = Member(sent, "values of the graph's tensors; by default those that are registered", {})
    others = {name: member for name, member in record.members.items() if name != "graph"}
    return Record(record.title, {"tensors": tensors, **others})
