"""What the models of requests are made of: the base of all objects, and the types of their members.

Types are pydantic's. Their errors have the codes, details and hints of the contract's section 8.
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
    """An object. Members that the model does not have are refused, with a suggestion.

    `words` names the object in messages. Where the validation's context has `unknown_members`, they pass.
    """

    model_config = ConfigDict(strict=True, extra="ignore", protected_namespaces=())
    words: ClassVar[str]
    _names: ClassVar[frozenset[str]]
    _required: ClassVar[dict[str, str]]
    """What members mean that must be there, by name."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Look the members up once, not for each object: a graph may have 10,000."""
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
        """Return what is wrong with the object as a whole, whatever its members are."""
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
        """Return what is wrong with members that are sound by themselves."""
        return []


def member(doc: str, default: Any = None) -> Any:
    """Return an optional member. A default of None is that of members that have none; null is not taken for it.

    The description has defaults that are numbers and strings alone: of lists and objects, openapi-generator makes Java
    that does not compile.
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
"""Characters of a name."""


def read_name(value: Any) -> str:
    """Return the name of a tensor or of an op's output."""
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
    """Return the check of an object from names to values."""
    return WrapValidator(bounded(dict, wanted))


def _distinct(names: list[str]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        index = _repeated(names)
        error = fault("duplicate_name", f"{short(names[index])} stands twice", "Name it once.")
        raise invalid([((index,), error)], names)
    return tuple(names)


def _repeated(names: list[str]) -> int:
    """Return the index of the first name that stands twice, at its second place."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            return index
        seen.add(name)
    raise ValueError("the names are all different")


Names = Annotated[list[Name], WrapValidator(bounded(list, "a list of names")), AfterValidator(_distinct)]
"""A list of different names."""


def _not_empty(names: Any) -> Any:
    if type(names) is list and not names:
        raise fault("empty_list", "is empty", "Name at least one, or leave the member out.")
    return names


SomeNames = Annotated[Names, BeforeValidator(_not_empty)]
"""A list of different names, one at least."""


def whole(least: int, most: int) -> BeforeValidator:
    """Return the check of an integer between bounds, both included; `1.0` and `1e3` are integers."""

    def check(value: Any) -> int:
        if type(value) not in {int, float}:
            raise wrong_kind(value, "an integer")
        if value != value // 1 or not least <= value <= most:
            wanted = f"an integer from {least} to {most}"
            raise fault("out_of_range", f"is {short(value)}; it takes {wanted}", f"Give {wanted}.")
        return int(value)

    return BeforeValidator(check)


def real(*, positive: bool = False) -> BeforeValidator:
    """Return the check of a finite number that is not negative, and above 0 where it is `positive`."""
    wanted = "a number above 0" if positive else "a number, 0 or above"

    def check(value: Any) -> float:
        if type(value) not in {int, float}:
            raise wrong_kind(value, wanted)
        if value < 0 or (positive and value == 0):
            raise fault("out_of_range", f"is {short(value)}; it takes {wanted}", f"Give {wanted}.")
        return float(value)

    return BeforeValidator(check)


class _Choice:
    """The check of one of a few strings: those of the Literal that it annotates."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema of the Literal, after the check."""
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
