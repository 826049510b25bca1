"""Building blocks of the request models: the base class of all objects, and the types of their members.

The types are pydantic types. Their errors have the codes, details and hints of section 8 of the contract.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Annotated, Any, ClassVar, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ModelWrapValidatorHandler,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from app.schemas.faults import MAX_FAULTS, Located, bounded, fault, invalid, located, short, wrong_kind

Schema = dict[str, Any]


class ClosedModel(BaseModel):
    """An object without unknown members: an unknown member is an error with a suggestion.

    `words` is the object's name in messages. With `unknown_members` in the validation context, unknown members pass.
    """

    model_config = ConfigDict(strict=True, extra="ignore", protected_namespaces=())
    words: ClassVar[str]
    _names: ClassVar[frozenset[str]]
    _required: ClassVar[dict[str, str]]
    """Descriptions of the required members, by name."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Collect the members once for the class, not once for each object: a graph may have 10,000 objects."""
        super().__pydantic_init_subclass__(**kwargs)
        cls._names = frozenset(cls.model_fields)
        cls._required = {name: str(info.description) for name, info in cls.model_fields.items() if info.is_required()}

    @model_validator(mode="wrap")
    @classmethod
    def _closed(cls, value: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        if type(value) is not dict:
            raise wrong_kind(value, f"an object ({cls.words})")
        errors = cls.noted(value)
        if not value.keys() <= cls._names and not (info.context or {}).get("unknown_members"):
            errors = [*islice(cls._unknown(value), MAX_FAULTS), *errors]
        try:
            found = handler(value)
        except ValidationError as error:
            raise invalid([*errors, *located(error)], value) from None
        errors += found.checks()
        if errors:
            raise invalid(errors, value)
        return found

    @classmethod
    def noted(cls, value: dict[str, Any]) -> list[Located]:
        """Return the errors of the object as a whole, independent of its members' values."""
        return [
            ((name,), fault("missing_member", f"`{name}` is missing", f"Add `{name}`: {meaning}."))
            for name, meaning in cls._required.items()
            if name not in value
        ]

    @classmethod
    def _unknown(cls, value: dict[str, Any]) -> Iterator[Located]:
        known = cls.model_fields
        for name in value:
            if name not in known:
                detail, hint = f"{cls.words} has no member {short(name)}", f"It has {', '.join(known)}."
                yield (name,), fault("unknown_member", detail, hint, given=name, known=known)

    def checks(self) -> list[Located]:
        """Return errors of combinations of members that are valid individually."""
        return []


def member(doc: str, default: Any = None) -> Any:
    """Return an optional member. A default of None means that there is no default value; null is still invalid.

    Only defaults that are numbers or strings are in the description: openapi-generator makes Java code that does not
    compile from defaults that are lists or objects.
    """
    if default is None:
        return Field(default_factory=lambda: None, description=doc)
    if isinstance(default, tuple | dict):
        return Field(default_factory=type(default), description=doc)
    return Field(default=default, description=doc)


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise wrong_kind(value, "true or false")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise wrong_kind(value, "a string")
    return str(value)


MAX_NAME = 128
"""The maximum length of a name, in characters."""


def read_name(value: Any) -> str:
    """Return the validated name of a tensor or of an op's output."""
    if type(value) is not str:
        raise wrong_kind(value, "a name")
    if not 1 <= len(value) <= MAX_NAME:
        what = "the name is empty" if not value else f"the name has {len(value)} characters"
        raise fault("invalid_name", what, f"Names have 1 to {MAX_NAME} characters.")
    return value


Flag = Annotated[bool, BeforeValidator(_flag)]
Text = Annotated[str, BeforeValidator(_text)]
Name = Annotated[str, PlainValidator(read_name), WithJsonSchema({"type": "string"})]
"""The name of a tensor or of an op's output."""


def by_name(wanted: str = "an object, name to value") -> WrapValidator:
    """Return the validator of an object from names to values."""
    return WrapValidator(bounded(dict, wanted))


def _distinct(names: list[str]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        index = _repeated(names)
        error = fault("duplicate_name", f"{short(names[index])} stands twice", "Name it once.")
        raise invalid([((index,), error)], names)
    return tuple(names)


def _repeated(names: list[str]) -> int:
    """Return the index of the second occurrence of the first duplicate name."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            return index
        seen.add(name)
    raise ValueError("the names are all different")


Names = Annotated[list[Name], WrapValidator(bounded(list, "a list of names")), AfterValidator(_distinct)]
"""A list of distinct names."""


def _not_empty(names: Any) -> Any:
    if type(names) is list and not names:
        raise fault("empty_list", "is empty", "Name at least one, or leave the member out.")
    return names


SomeNames = Annotated[Names, BeforeValidator(_not_empty)]
"""A list of at least one name, without duplicates."""


def whole(least: int, most: int) -> BeforeValidator:
    """Return the validator of an integer from `least` to `most`, inclusive. `1.0` and `1e3` are integers."""

    def check(value: Any) -> int:
        if type(value) not in {int, float}:
            raise wrong_kind(value, "an integer")
        if value != value // 1 or not least <= value <= most:
            wanted = f"an integer from {least} to {most}"
            raise fault("out_of_range", f"is {short(value)}; it takes {wanted}", f"Give {wanted}.")
        return int(value)

    return BeforeValidator(check)


def real(*, positive: bool = False) -> BeforeValidator:
    """Return the validator of a finite number that is at least 0, or above 0 if `positive` is True."""
    wanted = "a number above 0" if positive else "a number, 0 or above"

    def check(value: Any) -> float:
        if type(value) not in {int, float}:
            raise wrong_kind(value, wanted)
        if value < 0 or (positive and value == 0):
            raise fault("out_of_range", f"is {short(value)}; it takes {wanted}", f"Give {wanted}.")
        return float(value)

    return BeforeValidator(check)


class _Choice:
    """The validator of a string with a fixed set of values: the values of the annotated Literal."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema of the Literal, which runs after the validator."""
        return core_schema.no_info_before_validator_function(_one_of(get_args(source)), handler(source))


CHOICE = _Choice()


def _one_of(options: tuple[str, ...]) -> Callable[[Any], str]:
    listed = ", ".join(f'"{option}"' for option in options)

    def check(value: Any) -> str:
        if type(value) is not str:
            raise wrong_kind(value, f"one of {listed}")
        if value not in options:
            raise fault(
                "unknown_choice", f"is {short(value)}", f"It takes one of {listed}.", given=value, known=options
            )
        return str(value)

    return check
