"""What the structure of a request is written in: readers, each of which checks one kind of JSON value and describes it.

A reader's `read` returns the value as the service uses it, or notes what is wrong and raises Refused; containers go on
with the other members first, so that one reading finds every fault. Its `schema` is the JSON schema of the same thing,
for the API's description. The tables in `app.schemas` are made of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, NoReturn, Protocol, TypeVar

from engine.errors import Fault, Path
from engine.suggestions import Suggestions

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Schema = dict[str, Any]

MAX_FAULTS = 100
"""The most faults that one answer lists."""

WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""The strings that stand for the numbers that JSON does not have."""


class Refused(Exception):
    """A reader gives no value. What is wrong has been noted."""


class TooManyFaults(Exception):
    """The reading stops, since the answer lists no more faults."""


@dataclass(slots=True)
class Reading:
    """One reading of one request: the limits it is held against and the faults found so far."""

    max_tensors: int
    max_ops: int
    faults: list[Fault] = field(default_factory=list)
    suggestions: Suggestions = field(default_factory=Suggestions)

    def note(self, path: Path, code: str, detail: str, hint: str) -> None:
        """Add a fault. Raises TooManyFaults."""
        self.faults.append(Fault(path, code, detail, hint))
        if len(self.faults) >= MAX_FAULTS:
            raise TooManyFaults

    def refuse(self, path: Path, code: str, detail: str, hint: str) -> NoReturn:
        """Add a fault and give up the value it is in."""
        self.note(path, code, detail, hint)
        raise Refused


class Reader(Protocol[T_co]):
    """Reads one kind of value."""

    def read(self, value: Any, path: Path, reading: Reading) -> T_co:
        """Return the value that stands at `path`. Raises Refused."""
        ...

    def schema(self) -> Schema:
        """Return the JSON schema of the values that it reads."""
        ...


def kind_of(value: Any) -> str:
    """Return what a JSON value is, in words."""
    return _KINDS[type(value)]


_KINDS: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "null",
}


def short(value: object) -> str:
    """Return what a client wrote, cut to what a message can hold."""
    text = repr(value[:_SHORT]) if isinstance(value, str | bytes) else repr(value)
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 3]}..."


_SHORT = 80


def wrong_kind(reading: Reading, path: Path, value: Any, wanted: str) -> NoReturn:
    """Refuse a value of another kind than the member takes."""
    name = f"`{path[-1]}`" if path and isinstance(path[-1], str) else "this"
    reading.refuse(path, "wrong_type", f"{name} is {kind_of(value)}; it takes {wanted}", f"Give {wanted}.")


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    def read(self, value: Any, path: Path, reading: Reading) -> bool:
        """Return the flag."""
        if type(value) is not bool:
            wrong_kind(reading, path, value, "true or false")
        return value

    def schema(self) -> Schema:
        """Return the JSON schema."""
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Text:
    """Any string."""

    def read(self, value: Any, path: Path, reading: Reading) -> str:
        """Return the string."""
        if type(value) is not str:
            wrong_kind(reading, path, value, "a string")
        return str(value)

    def schema(self) -> Schema:
        """Return the JSON schema."""
        return {"type": "string"}


@dataclass(frozen=True, slots=True)
class Whole:
    """An integer between bounds, both included; `1.0` and `1e3` are integers."""

    least: int
    most: int

    def read(self, value: Any, path: Path, reading: Reading) -> int:
        """Return the integer."""
        if type(value) not in {int, float}:
            wrong_kind(reading, path, value, "an integer")
        if value != value // 1 or not self.least <= value <= self.most:
            reading.refuse(
                path,
                "out_of_range",
                f"`{path[-1]}` is {short(value)}; it takes an integer from {self.least} to {self.most}",
                f"Give an integer from {self.least} to {self.most}.",
            )
        return int(value)

    def schema(self) -> Schema:
        """Return the JSON schema."""
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True, slots=True)
class Real:
    """A finite number that is not negative, and above 0 where it is `positive`."""

    positive: bool = False

    def read(self, value: Any, path: Path, reading: Reading) -> float:
        """Return the number."""
        wanted = "a number above 0" if self.positive else "a number, 0 or above"
        if type(value) not in {int, float}:
            wrong_kind(reading, path, value, wanted)
        if value < 0 or (self.positive and value == 0):
            detail = f"`{path[-1]}` is {short(value)}; it takes {wanted}"
            reading.refuse(path, "out_of_range", detail, f"Give {wanted}.")
        return float(value)

    def schema(self) -> Schema:
        """Return the JSON schema."""
        return {"type": "number", "exclusiveMinimum" if self.positive else "minimum": 0}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few strings."""

    options: tuple[str, ...]

    def read(self, value: Any, path: Path, reading: Reading) -> str:
        """Return the string."""
        if type(value) is not str:
            wrong_kind(reading, path, value, f"one of {self._listed()}")
        if value not in self.options:
            near = reading.suggestions.did_you_mean(value, self.options)
            hint = f"{near} It takes one of {self._listed()}.".lstrip()
            reading.refuse(path, "unknown_choice", f"`{path[-1]}` is {short(value)}", hint)
        return str(value)

    def _listed(self) -> str:
        return ", ".join(f'"{option}"' for option in self.options)

    def schema(self) -> Schema:
        """Return the JSON schema."""
        return {"type": "string", "enum": list(self.options)}


MAX_NAME = 128
"""Characters of a name."""


@dataclass(frozen=True, slots=True)
class Name:
    """The name of a tensor or of an op's output."""

    def read(self, value: Any, path: Path, reading: Reading) -> str:
        """Return the name."""
        if type(value) is not str:
            wrong_kind(reading, path, value, "a name")
        check_name(value, path, reading)
        return str(value)

    def schema(self) -> Schema:
        """Return the JSON schema."""
        return {"type": "string", "minLength": 1, "maxLength": MAX_NAME}


def check_name(name: str, path: Path, reading: Reading) -> None:
    """Refuse names that are empty or too long."""
    if not 1 <= len(name) <= MAX_NAME:
        what = "the name is empty" if not name else f"the name has {len(name)} characters"
        reading.refuse(path, "invalid_name", what, f"Names have 1 to {MAX_NAME} characters.")


@dataclass(frozen=True, slots=True)
class Names:
    """A list of different names."""

    least: int = 0

    def read(self, value: Any, path: Path, reading: Reading) -> tuple[str, ...]:
        """Return the names."""
        if type(value) is not list:
            wrong_kind(reading, path, value, "a list of names")
        if len(value) < self.least:
            reading.refuse(path, "empty_list", f"`{path[-1]}` is empty", "Name at least one, or leave the member out.")
        names = tuple(read_all(Name(), enumerate(value), path, reading))
        if len(set(names)) < len(names):
            index = _repeated(names)
            reading.refuse((*path, index), "duplicate_name", f"{short(names[index])} stands twice", "Name it once.")
        return names

    def schema(self) -> Schema:
        """Return the JSON schema."""
        return {"type": "array", "items": Name().schema(), "minItems": self.least, "uniqueItems": True}


def _repeated(names: tuple[str, ...]) -> int:
    """Return the index of the first name that stands twice, at its second place."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            return index
        seen.add(name)
    raise ValueError("the names are all different")


def read_all(item: Reader[T], values: Iterable[tuple[str | int, Any]], path: Path, reading: Reading) -> list[T]:
    """Read the members of a list or an object; all of them, before any fault refuses the whole."""
    found = []
    complete = True
    for token, value in values:
        try:
            found.append(item.read(value, (*path, token), reading))
        except Refused:
            complete = False
    if not complete:
        raise Refused
    return found


@dataclass(frozen=True, slots=True)
class ByName(Generic[T]):
    """An object: names to values of one kind."""

    item: Reader[T]

    def read(self, value: Any, path: Path, reading: Reading) -> dict[str, T]:
        """Return the values by name."""
        if type(value) is not dict:
            wrong_kind(reading, path, value, "an object, name to value")
        read_all(Name(), ((name, name) for name in value), path, reading)
        return dict(zip(value, read_all(self.item, value.items(), path, reading), strict=True))

    def schema(self) -> Schema:
        """Return the JSON schema."""
        return {"type": "object", "additionalProperties": self.item.schema()}
