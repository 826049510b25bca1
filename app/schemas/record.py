"""Objects whose members a table lists: each with its reader, its meaning and its default. Requests are made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.schemas.readers import Reader, Reading, Refused, Schema, short, wrong_kind
from engine.errors import Path


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an object: how it is read, what it means, and what is read where it is left out (None: nothing)."""

    reader: Reader[Any]
    doc: str
    default: Any = None
    required: bool = False
    volatile: bool = False
    """Whether it changes nothing about what is computed, so that plans are shared across its values."""

    def value(self, holder: Mapping[str, Any], name: str, path: Path, reading: Reading) -> Any:
        """Return the member of `holder`, or its default. Raises Refused."""
        if name in holder:
            return self.reader.read(holder[name], (*path, name), reading)
        if self.required:
            reading.refuse((*path, name), "missing_member", f"`{name}` is missing", f"Add `{name}`: {self.doc}.")
        return None if self.default is None else self.reader.read(self.default, (*path, name), reading)

    def schema(self) -> Schema:
        """Return the JSON schema, with what the member means."""
        described = {**self.reader.schema(), "description": self.doc}
        return described if self.default is None else {**described, "default": self.default}


@dataclass(frozen=True, slots=True)
class Record:
    """An object with the members of a table. Others are refused."""

    title: str
    members: Mapping[str, Member]

    def read(self, value: Any, path: Path, reading: Reading) -> dict[str, Any]:
        """Return all members, defaults included. Unknown ones are noted and do not refuse the object."""
        if type(value) is not dict:
            wrong_kind(reading, path, value, f"an object ({self.title})")
        for name in value:
            if name not in self.members:
                self._note_unknown(name, path, reading)
        found = {}
        for name, member in self.members.items():
            try:
                found[name] = member.value(value, name, path, reading)
            except Refused:
                continue
        if len(found) < len(self.members):
            raise Refused
        return found

    def _note_unknown(self, name: str, path: Path, reading: Reading) -> None:
        hint = reading.suggestions.did_you_mean(name, self.members) or f"It has {', '.join(self.members)}."
        reading.note((*path, name), "unknown_member", f"{self.title} has no member {short(name)}", hint)

    def schema(self) -> Schema:
        """Return the JSON schema."""
        return {
            "type": "object",
            "title": self.title,
            "properties": {name: member.schema() for name, member in self.members.items()},
            "required": [name for name, member in self.members.items() if member.required],
            "additionalProperties": False,
        }
