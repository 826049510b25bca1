"""Validation of an op's arguments: references to tensors, literals, and lists of both. Contract, section 2."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from pydantic import PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.schemas.faults import WORDS, collect, fault, invalid, short, wrong_kind
from app.schemas.members import read_name
from engine import Argument, Ref

MAX_NESTING = 8
"""The maximum depth of nested lists in one argument."""

_HINT = 'A number that JSON cannot write is {"number": "Infinity"}, {"number": "-Infinity"} or {"number": "NaN"}.'


def _argument(text: Callable[[str], Argument], value: Any, levels: int = MAX_NESTING) -> Argument:
    """Return an argument. `text` converts strings: to references in `inputs`, to literals in `attributes`."""
    if type(value) is str:
        return text(value)
    if type(value) is list:
        if not levels:
            detail, hint = "the lists of this argument nest too deeply", f"Nest at most {MAX_NESTING} lists."
            raise fault("nested_too_deep", detail, hint)
        return tuple(collect(enumerate(value), lambda item: _argument(text, item, levels - 1)))
    if type(value) is dict:
        return _special_number(value)
    return _literal(value)


def _literal(value: Any) -> Argument:
    if type(value) is int and value >= 2**63:
        hint = "Write it with a decimal point or an exponent if a float is meant."
        raise fault("integer_too_wide", f"the integer {value} is beyond the range of int64", hint)
    number: Argument = value
    return number


def _special_number(value: dict[str, Any]) -> Argument:
    """Return the number of `{"number": "Infinity"}`, or of any other number in this form."""
    if value.keys() != {"number"}:
        raise fault("wrong_type", "an object is no argument of an op", _HINT)
    try:
        return _number(value["number"])
    except PydanticCustomError as error:
        raise invalid([(("number",), error)], value) from None


def _number(number: Any) -> Argument:
    if type(number) is str and number in WORDS:
        return WORDS[number]
    if type(number) is list:
        raise fault("dtype_not_offered", "complex numbers are not offered yet", "Use a real number.")
    if type(number) not in {int, float}:
        raise fault("not_a_number", f"{short(number)} is not a number", _HINT)
    return _literal(number)


_reference = partial(_argument, Ref)
_word = partial(_argument, str)


def _named(value: dict[str, Any], read: Callable[[Any], Argument]) -> dict[str, Argument]:
    collect(((name, name) for name in value), read_name)
    return dict(zip(value, collect(value.items(), read), strict=True))


def _inputs(value: Any) -> tuple[Argument, ...] | dict[str, Argument]:
    if type(value) is dict:
        return _named(value, _reference)
    if type(value) is not list:
        raise wrong_kind(value, "a list of arguments, or an object: parameter name to argument")
    return tuple(collect(enumerate(value), _reference))


def _attributes(value: Any) -> dict[str, Argument]:
    if type(value) is not dict:
        raise wrong_kind(value, "an object, name to value")
    return _named(value, _word)


Inputs = Annotated[Any, PlainValidator(_inputs), WithJsonSchema({})]
"""An op's arguments, by position or by parameter name."""

Attributes = Annotated[dict[str, Any], PlainValidator(_attributes), WithJsonSchema({"type": "object"})]
"""An op's keyword arguments that are not tensors."""
