"""What a request says of a tensor besides its values: dtype, shape, requires_grad. Contract, section 1.

The values have been taken out of what is read here; `app.wire.decode` turns them into arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.schemas.readers import Flag, Reading, Schema, short, wrong_kind
from app.schemas.record import Member, Record
from engine.errors import Path, did_you_mean
from engine.types import DTYPES, DType, Shape


@dataclass(frozen=True, slots=True)
class TensorForm:
    """What a request says of a tensor besides its values.

    `shorthand` says that the values stand in the tensor's place, not under `data`; `typed`, that there are none, and
    shape and dtype are all that is known.
    """

    dtype: DType | None = None
    shape: Shape | None = None
    requires_grad: bool = False
    shorthand: bool = False
    typed: bool = False


@dataclass(frozen=True, slots=True)
class DTypeName:
    """A dtype by its name."""

    offered: tuple[str, ...]

    def read(self, value: Any, path: Path, reading: Reading) -> DType:
        """Return the dtype."""
        if type(value) is not str:
            wrong_kind(reading, path, value, "a dtype's name")
        hint = f"Use one of {', '.join(self.offered)}."
        if value not in DTYPES:
            hint = f"{did_you_mean(value, self.offered)} {hint}".lstrip()
            reading.refuse(path, "unknown_dtype", f"there is no dtype {short(value)}", hint)
        if value not in self.offered:
            reading.refuse(path, "dtype_not_offered", f"the dtype {value} is not offered here", hint)
        return DTYPES[value]

    def schema(self) -> Schema:
        """Return the JSON schema."""
        return {"type": "string", "enum": list(self.offered)}


TENSOR_DTYPES = tuple(name for name, dtype in DTYPES.items() if not dtype.is_complex)
GRAPH_DTYPES = tuple(name for name, dtype in DTYPES.items() if dtype.is_floating)


@dataclass(frozen=True, slots=True)
class _Shape:
    """A shape: a list of sizes."""

    def read(self, value: Any, path: Path, reading: Reading) -> Shape:
        """Return the shape."""
        if type(value) is not list:
            wrong_kind(reading, path, value, "a list of sizes")
        for index, size in enumerate(value):
            if type(size) is not int or size < 0:
                hint = "Sizes are integers, 0 or more."
                reading.refuse((*path, index), "invalid_size", f"{short(size)} is no size of a dimension", hint)
        return tuple(value)

    def schema(self) -> Schema:
        """Return the JSON schema."""
        return {"type": "array", "items": {"type": "integer", "minimum": 0}}


@dataclass(frozen=True, slots=True)
class _Data:
    """A tensor's values, which have been taken out."""

    def read(self, value: Any, path: Path, reading: Reading) -> None:
        """Return nothing: the values are decoded apart."""

    def schema(self) -> Schema:
        """Return the JSON schema of the values."""
        return {"$ref": "#/components/schemas/Values"}


_TYPE = {
    "dtype": Member(DTypeName(TENSOR_DTYPES), "its dtype; by default the graph's"),
    "shape": Member(_Shape(), "its shape, where `data` is flat, base64 or left out"),
    "requires_grad": Member(Flag(), "whether its gradient is wanted", default=False),
}
_DATA = "its values: nested, or flat or base64 with `shape`"
_TENSOR = Record("a tensor", {"data": Member(_Data(), _DATA, required=True), **_TYPE})
_BARE = Record("a tensor or its type", {"data": Member(_Data(), _DATA), **_TYPE})


SHORTHAND = 0
"""What stands in place of a tensor that was given by its values alone, once they have been taken out."""


@dataclass(frozen=True, slots=True)
class TensorReader:
    """A tensor whose values have been taken out.

    One that is `held` constant cannot require a gradient; one that may be `bare` needs no values where it has a shape.
    """

    held: bool = False
    bare: bool = False

    def read(self, value: Any, path: Path, reading: Reading) -> TensorForm:
        """Return what is said of the tensor besides its values."""
        if value == SHORTHAND:
            return TensorForm(shorthand=True)
        if value is None:
            reading.refuse(path, "null_value", "null is no tensor", "Give its values, or leave the tensor out.")
        members = (_BARE if self.bare else _TENSOR).read(value, path, reading)
        form = TensorForm(members["dtype"], members["shape"], members["requires_grad"], typed="data" not in value)
        if form.typed and form.shape is None:
            hint = "Add `shape`, or `data`."
            reading.refuse((*path, "shape"), "missing_member", "a tensor without `data` needs its `shape`", hint)
        if self.held and form.requires_grad:
            at = (*path, "requires_grad")
            reading.refuse(at, "not_differentiable", "this tensor is held constant", "Leave `requires_grad` out.")
        return form

    def schema(self) -> Schema:
        """Return the JSON schema."""
        return {"$ref": f"#/components/schemas/{'TensorType' if self.bare else 'Tensor'}"}


@dataclass(frozen=True, slots=True)
class SeedReader:
    """The seed of a root: a tensor held constant, or null, which stands for ones."""

    bare: bool = False

    def read(self, value: Any, path: Path, reading: Reading) -> TensorForm | None:
        """Return what is said of the seed besides its values."""
        return None if value is None else TensorReader(held=True, bare=self.bare).read(value, path, reading)

    def schema(self) -> Schema:
        """Return the JSON schema."""
        return {"anyOf": [TensorReader(bare=self.bare).schema(), {"type": "null"}]}


VALUES: Schema = {
    "description": 'Numbers, lists of them, or the strings "NaN", "Infinity" and "-Infinity".',
    "type": ["number", "boolean", "string", "array"],
    "items": {"$ref": "#/components/schemas/Values"},
}

TENSOR: Schema = {
    "description": "A tensor: its values alone, or an object with room for dtype, shape and requires_grad.",
    "anyOf": [{"$ref": "#/components/schemas/Values"}, _TENSOR.schema()],
}

TENSOR_TYPE: Schema = {
    "description": "A tensor, or its type: shape and dtype without values.",
    "anyOf": [{"$ref": "#/components/schemas/Values"}, _BARE.schema()],
}
