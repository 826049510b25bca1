"""The signature of an op as a schema, read from the Python function that defines the op.

The tracer binds arguments of users with it, and the catalogue prints it. An annotation is a union of the types that a
parameter accepts: `Tensor`, `bool`, `int`, `float`, `complex`, `str`, `Literal`, `DType`, `None`, and tuples of them.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Union

from engine.errors import OpError
from engine.graph.graph import Tensor
from engine.graph.types import DTYPES, DType
from engine.hints import names as hints
from engine.hints.suggestions import Suggestions

_SCALARS = (bool, int, float, complex)
_WORDS = {
    Tensor: "a tensor",
    bool: "true or false",
    int: "an integer",
    float: "a number",
    complex: "a complex number",
    str: "a string",
    DType: "a dtype's name",
    type(None): "null",
    tuple[int, ...]: "a list of integers",
    tuple[int | None, ...]: "a list of integers and nulls",
    tuple[float, ...]: "a list of numbers",
    tuple[bool, ...]: "a list of true and false",
    tuple[tuple[int, ...], ...]: "a list of lists of integers",
    tuple[Tensor, ...]: "a list of tensors",
    tuple[Tensor | None, ...]: "a list of tensors and nulls",
}
_ITEMS: dict[Any, set[type]] = {
    tuple[int, ...]: {int},
    tuple[bool, ...]: {bool},
    tuple[Tensor, ...]: {Tensor},
    tuple[int | None, ...]: {int, type(None)},
    tuple[Tensor | None, ...]: {Tensor, type(None)},
}
"""The item types of sequences that are passed on without conversion."""

_SEQUENCES: dict[Any, Any] = {
    int: tuple[int, ...],
    float: tuple[float, ...],
    bool: tuple[bool, ...],
    Tensor: tuple[Tensor, ...],
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: the types that it accepts, its default, and how a call may pass it."""

    name: str
    takes: frozenset[Any]
    choices: tuple[str, ...] = ()
    default: Any = inspect.Parameter.empty
    keyword_only: bool = False
    variadic: bool = False

    @property
    def required(self) -> bool:
        """Whether a call must pass the parameter."""
        return self.default is inspect.Parameter.empty and not self.variadic

    @property
    def positional(self) -> bool:
        """Whether `inputs` can contain the parameter by position. Strings and dtypes are always attributes."""
        return not self.keyword_only and not self.takes <= {str, DType, type(None)}

    @property
    def takes_tensors(self) -> bool:
        """Whether the parameter accepts a tensor."""
        return any(kind in self.takes for kind in (Tensor, tuple[Tensor, ...], tuple[Tensor | None, ...]))

    def describe(self) -> str:
        """Return a description of the accepted types."""
        words = [repr(choice) for choice in self.choices]
        hidden = {bool, int, complex} if float in self.takes else set()
        words += [word for kind, word in _WORDS.items() if kind in self.takes - hidden and not (words and kind is str)]
        return " or ".join(words)

    def accept(self, value: Any) -> Any:
        """Return `value` converted for the op. Raises OpError if the parameter does not accept it."""
        takes = self.takes
        kind = type(value)
        if kind is Tensor and Tensor in takes:
            return value
        if kind in _SCALARS:
            return self._number(value)
        if value is None and type(None) in takes:
            return None
        if kind is str:
            return self._string(value)
        if kind is tuple:
            return self._sequence(value)
        raise self._refusal(value)

    def _number(self, value: Any) -> Any:
        takes, kind = self.takes, type(value)
        if kind is complex:
            raise OpError(
                "complex_not_offered",
                f"{self.name}: complex numbers are not offered yet",
                "Use real numbers; split a complex tensor into its real and imaginary parts.",
                self.name,
            )
        if kind in takes:
            return value
        if kind is int and float in takes:
            return float(value)
        if tuple[int, ...] in takes and kind is int and self.variadic:
            return value
        raise self._refusal(value)

    def _string(self, value: str) -> Any:
        if self.choices:
            if value in self.choices:
                return value
            raise OpError(
                "unknown_choice",
                f"{self.name} is {value!r}; it takes {self.describe()}",
                Suggestions().did_you_mean(value, self.choices) or f"Use {self.describe()}.",
                self.name,
            )
        if DType in self.takes:
            if value not in DTYPES:
                raise OpError(
                    "unknown_dtype",
                    f"{self.name}: there is no dtype {value!r}",
                    hints.of_dtype(value, DTYPES, Suggestions()) or f"Use one of {', '.join(DTYPES)}.",
                    self.name,
                )
            return offered_dtype(DTYPES[value], self.name)
        if str in self.takes:
            return value
        raise self._refusal(value)

    def _sequence(self, value: tuple[Any, ...]) -> Any:
        takes = self.takes
        kinds = {type(item) for item in value}
        if any(sequence in takes and kinds <= items for sequence, items in _ITEMS.items()):
            return value
        if tuple[float, ...] in takes and kinds <= {int, float}:
            return tuple(map(float, value))
        if tuple[tuple[int, ...], ...] in takes and all(_integers(item) for item in value):
            return value
        raise self._refusal(value)

    def _refusal(self, value: Any) -> OpError:
        return OpError(
            "argument_type",
            f"{self.name} takes {self.describe()}, not {_spell(value)}",
            f"Give {self.describe()}.",
            self.name,
        )


def _integers(value: Any) -> bool:
    return isinstance(value, tuple) and all(type(item) is int for item in value)


def offered_dtype(dtype: DType, argument: str | None = None) -> DType:
    """Return `dtype`. Raises OpError for complex dtypes, which are not offered yet."""
    if dtype.is_complex:
        raise OpError(
            "dtype_not_offered",
            f"the dtype {dtype.name} is not offered yet",
            "Use a real dtype; split a complex tensor into its real and imaginary parts.",
            argument,
        )
    return dtype


def _spell(value: Any) -> str:
    if isinstance(value, Tensor):
        return "a tensor"
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, str):
        return f"the string {value!r}"
    if isinstance(value, tuple):
        return "a list of tensors" if value and all(isinstance(v, Tensor) for v in value) else "this list"
    return f"the number {value!r}"


def _members(annotation: Any) -> Iterator[Any]:
    """Yield the members of a union, including nested unions."""
    if typing.get_origin(annotation) in (Union, types.UnionType):
        for member in typing.get_args(annotation):
            yield from _members(member)
    else:
        yield annotation


@dataclass(frozen=True, slots=True)
class Signature:
    """The parameters of an op, in order. `positional` are the parameters that `inputs` can contain by position."""

    parameters: tuple[Parameter, ...]
    text: str
    positional: tuple[Parameter, ...] = field(init=False, repr=False)
    _required: tuple[Parameter, ...] = field(init=False, repr=False)
    _named: Mapping[str, Parameter] = field(init=False, repr=False)
    _fixed: tuple[tuple[str, Any], ...] | None = field(init=False, repr=False)
    _keywords: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        fixed = [(parameter.name, parameter.default) for parameter in self.parameters if not parameter.keyword_only]
        variadic = any(parameter.variadic for parameter in self.parameters)
        object.__setattr__(self, "_fixed", None if variadic else tuple(fixed))
        object.__setattr__(self, "_keywords", tuple(p.name for p in self.parameters if p.keyword_only))
        positional = tuple(parameter for parameter in self.parameters if parameter.positional)
        object.__setattr__(self, "positional", positional)
        object.__setattr__(self, "_required", tuple(parameter for parameter in self.parameters if parameter.required))
        object.__setattr__(self, "_named", {parameter.name: parameter for parameter in self.parameters})

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Signature:
        """Read the signature of `function`."""
        hints = typing.get_type_hints(function)
        signature = inspect.signature(function)
        return cls(
            tuple(_parameter(parameter, hints[name]) for name, parameter in signature.parameters.items()),
            _text(signature),
        )

    def named(self, name: str) -> Parameter | None:
        """Return the parameter with this name, or None."""
        return self._named.get(name)

    def missing(self, given: Container[str]) -> list[Parameter]:
        """Return the required parameters that are not in `given`."""
        return [parameter for parameter in self._required if parameter.name not in given]

    def call(self, arguments: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return the positional and keyword arguments of the Python function from arguments by name."""
        named = {name: arguments[name] for name in self._keywords if name in arguments} if self._keywords else {}
        if self._fixed is not None:
            return [arguments.get(name, default) for name, default in self._fixed], named
        positional: list[Any] = []
        for parameter in self.parameters:
            if parameter.variadic:
                given = arguments.get(parameter.name, ())
                positional.extend(given if isinstance(given, tuple) else (given,))
            elif not parameter.keyword_only:
                positional.append(arguments.get(parameter.name, parameter.default))
        return positional, named


def _parameter(parameter: inspect.Parameter, annotation: Any) -> Parameter:
    members = list(_members(annotation))
    choices = tuple(str(arg) for m in members if typing.get_origin(m) is Literal for arg in typing.get_args(m))
    takes = frozenset(str if typing.get_origin(member) is Literal else member for member in members)
    variadic = parameter.kind is inspect.Parameter.VAR_POSITIONAL
    if variadic:
        takes = frozenset(_SEQUENCES[member] for member in takes)
    unknown = takes - set(_WORDS)
    if unknown:
        raise TypeError(f"parameter {parameter.name}: no meaning is known for {unknown}")
    return Parameter(
        parameter.name,
        takes,
        choices,
        parameter.default,
        parameter.kind is inspect.Parameter.KEYWORD_ONLY,
        variadic,
    )


def _text(signature: inspect.Signature) -> str:
    parts = []
    star = False
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not star:
            parts.append("*")
            star = True
        prefix = ""
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            prefix, star = "*", True
        default = parameter.default
        suffix = "" if default is inspect.Parameter.empty else f"={_literal(default)}"
        parts.append(f"{prefix}{parameter.name.rstrip('_')}{suffix}")
    return f"({', '.join(parts)})"


def _literal(value: Any) -> str:
    if isinstance(value, DType):
        return repr(value.name)
    return repr(value)
