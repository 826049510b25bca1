"""The arguments of an op: references to tensors, literals, and lists of both. Contract, section 2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app.schemas.readers import WORDS, ByName, Reading, Schema, read_all, short, wrong_kind
from engine.errors import Path
from engine.program import Argument, Ref

MAX_NESTING = 8
"""Levels of lists in one argument."""

_HINT = 'A number that JSON cannot write is {"number": "Infinity"}, {"number": "-Infinity"} or {"number": "NaN"}.'


@dataclass(frozen=True, slots=True)
class ArgumentReader:
    """One argument. A string becomes what `text` makes of it: a reference in `inputs`, itself in `attributes`."""

    text: Callable[[str], Argument]
    levels: int = MAX_NESTING

    def read(self, value: Any, path: Path, reading: Reading) -> Argument:
        """Return the argument."""
        if type(value) is str:
            return self.text(value)
        if type(value) is list:
            return self._list(value, path, reading)
        if type(value) is dict:
            return _special_number(value, path, reading)
        return _literal(value, path, reading)

    def _list(self, value: list[Any], path: Path, reading: Reading) -> tuple[Argument, ...]:
        if not self.levels:
            hint = f"Nest at most {MAX_NESTING} lists."
            reading.refuse(path, "nested_too_deep", "the lists of this argument nest too deeply", hint)
        item = ArgumentReader(self.text, self.levels - 1)
        return tuple(read_all(item, enumerate(value), path, reading))

    def schema(self) -> Schema:
        """Return the JSON schema."""
        return {"$ref": "#/components/schemas/Argument"}


def _literal(value: Any, path: Path, reading: Reading) -> Argument:
    if type(value) is int and value >= 2**63:
        hint = "Write it with a decimal point or an exponent if a float is meant."
        reading.refuse(path, "integer_too_wide", f"the integer {value} is beyond the range of int64", hint)
    number: Argument = value
    return number


def _special_number(value: dict[str, Any], path: Path, reading: Reading) -> Argument:
    """Read `{"number": "Infinity"}`, or any number in that form."""
    if value.keys() != {"number"}:
        reading.refuse(path, "wrong_type", "an object is no argument of an op", _HINT)
    number = value["number"]
    at = (*path, "number")
    if type(number) is str and number in WORDS:
        return WORDS[number]
    if type(number) is list:
        reading.refuse(at, "dtype_not_offered", "complex numbers are not offered yet", "Use a real number.")
    if type(number) not in {int, float}:
        reading.refuse(at, "not_a_number", f"{short(number)} is not a number", _HINT)
    return _literal(number, at, reading)


ATTRIBUTES = ByName(ArgumentReader(str))
"""An op's keyword arguments that are no tensors."""


_INPUT = ArgumentReader(Ref)


@dataclass(frozen=True, slots=True)
class Inputs:
    """An op's arguments, by position or by parameter name."""

    def read(self, value: Any, path: Path, reading: Reading) -> tuple[Argument, ...] | dict[str, Argument]:
        """Return the arguments."""
        if type(value) is dict:
            return ByName(_INPUT).read(value, path, reading)
        if type(value) is not list:
            wrong_kind(reading, path, value, "a list of arguments, or an object: parameter name to argument")
        return tuple(read_all(_INPUT, enumerate(value), path, reading))

    def schema(self) -> Schema:
        """Return the JSON schema."""
        items = _INPUT.schema()
        return {"anyOf": [{"type": "array", "items": items}, {"type": "object", "additionalProperties": items}]}


NUMBER: Schema = {
    "title": "a number that JSON cannot write",
    "type": "object",
    "properties": {"number": {"anyOf": [{"type": "number"}, {"type": "string", "enum": list(WORDS)}]}},
    "required": ["number"],
    "additionalProperties": False,
}

ARGUMENT: Schema = {
    "description": "A string names a tensor or an op's output; a number, true, false or null is that literal; a list "
    "is a sequence of them. In `attributes` a string is a string.",
    "anyOf": [
        {"type": ["string", "number", "boolean", "null"]},
        {"type": "array", "items": {"$ref": "#/components/schemas/Argument"}},
        NUMBER,
    ],
}
