"""Conversion of pydantic's errors to the service's faults: pointer, code, detail and hint.

Validators raise `fault(...)`, a custom pydantic error with the code, the detail and the hint. `read` validates a value
and raises InvalidRequest with up to MAX_FAULTS faults of all validators.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, LiteralString, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from app.errors import InvalidRequest
from engine import Fault, Path, Suggestions, dtype_hint

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

MAX_FAULTS = 100
"""The maximum number of faults in a reply."""

WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""The strings for numbers that JSON cannot represent."""

Located = tuple[Path, PydanticCustomError]
"""An error and its path, relative to the validated value."""


def kind_of(value: Any) -> str:
    """Return the kind of a JSON value, in words."""
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
    """Return the text of a client's value, shortened for a message."""
    text = repr(value[:_SHORT]) if isinstance(value, str | bytes) else repr(value)
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 3]}..."


_SHORT = 80


def fault(
    code: LiteralString, detail: str, hint: str, *, given: str = "", known: Iterable[str] = ()
) -> PydanticCustomError:
    """Return an error that becomes a fault.

    If the detail begins with "is ", the member's name is put in front of it. `given` is an unknown name and `known` the
    known names; the closest known names are suggested before the hint.
    """
    return PydanticCustomError(code, code, {"detail": detail, "hint": hint, "given": given, "known": known})


def wrong_kind(value: Any, wanted: str) -> PydanticCustomError:
    """Return the error of a value that has the wrong kind for the member."""
    return fault("wrong_type", f"is {kind_of(value)}; it takes {wanted}", f"Give {wanted}.")


def invalid(errors: Sequence[Located], value: Any) -> ValidationError:
    """Return the exception with which a validator reports several errors, or one error inside the value."""
    details = [InitErrorDetails(type=error, loc=path, input=None) for path, error in errors[:MAX_FAULTS]]
    return ValidationError.from_exception_data(type(value).__name__, details)


def located(error: ValidationError) -> list[Located]:
    """Return the errors of an exception, each with its path."""
    return [
        (_place(found["loc"], found["type"]), PydanticCustomError(found["type"], found["type"], found["ctx"]))
        for found in error.errors(include_url=False, include_input=False)
        if found["type"] != _MISSING
    ]


def _place(path: Path, code: str) -> Path:
    """Return the path of an error. pydantic appends `[key]` to a name that is itself invalid."""
    return path[:-1] if code == "invalid_name" and path[-1:] == ("[key]",) else path


_MISSING = "missing"
"""pydantic's error for a missing member. The models raise an error that describes the member instead."""


def collect(items: Iterable[tuple[str | int, Any]], read: Callable[[Any], T]) -> list[T]:
    """Return the validated items of a list or an object. All items are validated. Raises ValidationError."""
    found: list[T] = []
    errors: list[Located] = []
    for token, item in items:
        try:
            found.append(read(item))
        except PydanticCustomError as error:
            errors.append(((token,), error))
        except ValidationError as error:
            errors.extend(((token, *path), inner) for path, inner in located(error))
        if len(errors) >= MAX_FAULTS:
            break
    if errors:
        raise invalid(errors, found)
    return found


def bounded(kind: type[list[Any] | dict[str, Any]], wanted: str) -> Callable[[Any, Callable[[Any], Any]], Any]:
    """Return a wrap validator for lists or objects that stops after MAX_FAULTS errors."""

    def check(value: Any, handler: Callable[[Any], Any]) -> Any:
        if type(value) is not kind:
            raise wrong_kind(value, wanted)
        if len(value) <= MAX_FAULTS:
            return handler(value)
        found: Any = kind()
        add = found.update if kind is dict else found.extend
        errors: list[Located] = []
        for start, piece in _pieces(value):
            try:
                add(handler(piece))
            except ValidationError as error:
                errors.extend((_shifted(path, start), inner) for path, inner in located(error))
            if len(errors) >= MAX_FAULTS:
                break
        if errors:
            raise invalid(errors, value)
        return found

    return check


def _pieces(value: Any) -> Iterator[tuple[int, Any]]:
    """Yield a long list or object in chunks of at most MAX_FAULTS items, each with the index of its first item."""
    items = list(value.items()) if type(value) is dict else value
    for start in range(0, len(items), MAX_FAULTS):
        part = items[start : start + MAX_FAULTS]
        yield start, dict(part) if type(value) is dict else part


def _shifted(path: Path, start: int) -> Path:
    return (path[0] + start, *path[1:]) if isinstance(path[0], int) else path


def read(model: type[M], value: Any, context: dict[str, Any] | None = None) -> M:
    """Return the validated value. Raises InvalidRequest."""
    try:
        return model.model_validate(value, context=context)
    except ValidationError as error:
        suggestions = Suggestions()
        raise InvalidRequest([_fault(*found, suggestions) for found in located(error)[:MAX_FAULTS]]) from None


def _fault(path: Path, error: PydanticCustomError, suggestions: Suggestions) -> Fault:
    said = error.context or {}
    detail, hint = said["detail"], said["hint"]
    if detail.startswith("is "):
        detail = f"{f'`{path[-1]}`' if path and isinstance(path[-1], str) else 'this'} {detail}"
    if said["given"]:
        suggest = (
            partial(dtype_hint, suggestions=suggestions) if error.type == "unknown_dtype" else suggestions.did_you_mean
        )
        near = suggest(said["given"], said["known"])
        hint = f"{near} {hint}".strip() if error.type in _BOTH else near or hint
    return Fault(path, error.type, detail, hint)


_BOTH = {"unknown_choice", "unknown_dtype"}
"""Codes with hints that list the known names, after the suggestion."""
