"""Models of a tensor without its values: dtype, shape, requires_grad. Contract, section 1.

The values are removed before validation; `app.wire.decode` decodes them to arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field, PlainValidator, TypeAdapter, ValidationInfo, WithJsonSchema

from app.schemas.faults import Located, collect, fault, invalid, short, wrong_kind
from app.schemas.members import ClosedModel, Flag, member
from engine import DTYPES, DType, Shape

Pattern = tuple[int | None, ...]
"""A shape in which None means any size."""


@dataclass(frozen=True, slots=True)
class TensorForm:
    """The declared properties of a tensor in a request, without its values.

    `shorthand` is True if the tensor is written as its values alone, without `data`. `typed` is True if the tensor has
    no values, only a shape and a dtype. A tensor with a dimension of any size has `pattern` in place of `shape`; None
    in the pattern means any size.
    """

    dtype: DType | None = None
    shape: Shape | None = None
    requires_grad: bool = False
    shorthand: bool = False
    typed: bool = False
    pattern: Pattern | None = None


def _dtype(offered: tuple[str, ...]) -> Callable[[Any], DType]:
    hint = f"Use one of {', '.join(offered)}."

    def check(value: Any) -> DType:
        if type(value) is not str:
            raise wrong_kind(value, "a dtype's name")
        if value not in DTYPES:
            raise fault("unknown_dtype", f"there is no dtype {short(value)}", hint, given=value, known=offered)
        if value not in offered:
            raise fault("dtype_not_offered", f"the dtype {value} is not offered here", hint)
        return DTYPES[value]

    return check


TENSOR_DTYPES = tuple(name for name, dtype in DTYPES.items() if not dtype.is_complex)
GRAPH_DTYPES = tuple(name for name, dtype in DTYPES.items() if dtype.is_floating)

_NAMED = WithJsonSchema({"type": "string", "enum": list(TENSOR_DTYPES)})
TensorDType = Annotated[DType, PlainValidator(_dtype(TENSOR_DTYPES)), _NAMED]
GraphDType = Annotated[
    DType, PlainValidator(_dtype(GRAPH_DTYPES)), WithJsonSchema({"type": "string", "enum": list(GRAPH_DTYPES)})
]


def _shape(*, open_: bool = False) -> Callable[[Any], Pattern]:
    hint = f"Sizes are integers, 0 or more{', or null for any size' if open_ else ''}."

    def size(value: Any) -> int | None:
        if (type(value) is not int or value < 0) and not (open_ and value is None):
            raise fault("invalid_size", f"{short(value)} is no size of a dimension", hint)
        return value

    def check(value: Any) -> Pattern:
        if type(value) is not list:
            raise wrong_kind(value, "a list of sizes")
        return tuple(collect(enumerate(value), size))

    return check


_SIZES = WithJsonSchema({"type": "array", "items": {"type": "integer", "format": "int64"}})
_Shape = Annotated[Any, PlainValidator(_shape()), _SIZES]
_OpenShape = Annotated[
    Any,
    PlainValidator(_shape(open_=True)),
    WithJsonSchema({"type": "array", "items": {"anyOf": [{"type": "integer", "format": "int64"}, {"type": "null"}]}}),
]

_DATA = "its values: nested, or flat or base64 with `shape`"


class _Typed(ClosedModel):
    """A tensor, or its type: `shape` without `data`."""

    words: ClassVar[str] = "a tensor or its type"

    data: Any = member(_DATA)
    dtype: TensorDType = member("its dtype; the default is the graph's dtype")
    shape: _Shape = member("its shape, where `data` is flat, base64 or left out")
    requires_grad: Flag = member("whether its gradient is wanted", default=False)

    def checks(self) -> list[Located]:
        """Return errors of combinations of members."""
        if "data" not in self.model_fields_set:
            hint = "Add `shape`, or `data`."
            missing = fault("missing_member", "a tensor without `data` needs its `shape`", hint)
            return [(("shape",), missing)] if self.shape is None else []
        if self.shape is not None and None in self.shape:
            hint = "Leave `data` out, or write the size."
            wrong = fault("invalid_size", "a tensor with `data` has a size in every dimension", hint)
            return [(("shape", self.shape.index(None)), wrong)]
        return []

    def form(self) -> TensorForm:
        """Return the declared properties without the values."""
        typed = "data" not in self.model_fields_set
        if self.shape is not None and None in self.shape:
            return TensorForm(self.dtype, None, self.requires_grad, typed=typed, pattern=self.shape)
        return TensorForm(self.dtype, self.shape, self.requires_grad, typed=typed)


class _Valued(_Typed):
    """A tensor with its values."""

    words: ClassVar[str] = "a tensor"

    data: Any = Field(description=_DATA)

    def checks(self) -> list[Located]:
        """Return no errors: a tensor with values needs no shape and has no dimension of any size."""
        return []


class _Open(_Typed):
    """A tensor, or its type with null for dimensions of any size."""

    shape: _OpenShape = member("its shape; without `data`, a dimension of null has any size")


SHORTHAND = 0
"""The placeholder of a tensor that is written as its values alone, after the values are removed."""


def _read(model: type[_Typed], *, held: bool = False) -> PlainValidator:
    """Return the validator of a tensor. If it is `held` constant, `requires_grad` is an error."""

    def check(value: Any, info: ValidationInfo) -> TensorForm:
        if value == SHORTHAND:
            return TensorForm(shorthand=True)
        if value is None:
            raise fault("null_value", "null is no tensor", "Give its values, or leave the tensor out.")
        form = model.model_validate(value, context=info.context).form()
        if held and form.requires_grad:
            error = fault("not_differentiable", "this tensor is held constant", "Leave `requires_grad` out.")
            raise invalid([(("requires_grad",), error)], value)
        return form

    return PlainValidator(check)


_VALUES = "numbers, nested lists of them, or an object with `data`, `dtype`, `shape` and `requires_grad`"
_VALUED = WithJsonSchema({"description": _VALUES})
_TYPED = WithJsonSchema({"description": f"{_VALUES}; without `data`, `shape` and `dtype` are its type"})

Tensor = Annotated[TensorForm, _read(_Valued), _VALUED]
BareTensor = Annotated[TensorForm, _read(_Typed), _TYPED]
"""A tensor, or only its shape and dtype."""

OpenTensor = Annotated[TensorForm, _read(_Open), _TYPED]
"""A tensor, or only its dtype and shape; null in the shape means any size."""

HeldTensor = Annotated[TensorForm, _read(_Valued, held=True), _VALUED]
"""A constant tensor: it cannot require a gradient."""

BareHeldTensor = Annotated[TensorForm, _read(_Typed, held=True), _TYPED]
"""A constant tensor, or only its shape and dtype."""

TENSOR: TypeAdapter[TensorForm] = TypeAdapter(Tensor)
