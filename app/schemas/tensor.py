"""What a request says of a tensor besides its values: dtype, shape, requires_grad. Contract, section 1.

The values have been taken out of what is read here; `app.wire.decode` turns them into arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.schemas.readers import Flag, Reading, Schema, short, wrong_kind
from app.schemas.record import Member, Record
from engine import hints
from engine.errors import Path
from engine.types import DTYPES, DType, Shape

Pattern = tuple[int | None, ...]
"""A shape in which None stands for any size."""


@dataclass(frozen=True, slots=True)
class TensorForm:
    """What a request says of a tensor besides its values.

    `shorthand` says that the values stand in the tensor's place, not under `data`; `typed`, that there are none, and
    shape and dtype are all that is known. A tensor some of whose dimensions may have any size has no `shape` but a
    `pattern`, in which None stands for them.
    """

    dtype: DType | None = None
    shape: Shape | None = None
    requires_grad: bool = False
    shorthand: bool = False
    typed: bool = False
    pattern: Pattern | None = None


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
            hint = f"{hints.of_dtype(value, self.offered, reading.suggestions)} {hint}".lstrip()
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
    """A shape: a list of sizes, among them null for any size where it may be `open`."""

    open: bool = False

    def read(self, value: Any, path: Path, reading: Reading) -> Pattern:
        """Return the shape."""
        if type(value) is not list:
            wrong_kind(reading, path, value, "a list of sizes")
        for index, size in enumerate(value):
            if (type(size) is not int or size < 0) and not (self.open and size is None):
                hint = f"Sizes are integers, 0 or more{', or null for any size' if self.open else ''}."
                reading.refuse((*path, index), "invalid_size", f"{short(size)} is no size of a dimension", hint)
        return tuple(value)

    def schema(self) -> Schema:
        """Return the JSON schema."""
        return {"type": "array", "items": {"type": ["integer", "null"] if self.open else "integer", "minimum": 0}}


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
_OPEN_SHAPE = Member(_Shape(open=True), "its shape; without `data`, a dimension of null has any size")
_OPEN = Record("a tensor or its type", {**_BARE.members, "shape": _OPEN_SHAPE})


SHORTHAND = 0
"""What stands in place of a tensor that was given by its values alone, once they have been taken out."""


@dataclass(frozen=True, slots=True)
class TensorReader:
    """A tensor whose values have been taken out.

    One that is `held` constant cannot require a gradient; one that may be `bare` needs no values where it has a shape,
    and one that may be `open` not even all sizes of that.
    """

    held: bool = False
    bare: bool = False
    open: bool = False

    def read(self, value: Any, path: Path, reading: Reading) -> TensorForm:
        """Return what is said of the tensor besides its values."""
        if value == SHORTHAND:
            return TensorForm(shorthand=True)
        if value is None:
            reading.refuse(path, "null_value", "null is no tensor", "Give its values, or leave the tensor out.")
        members = self._record.read(value, path, reading)
        form = _form(members, typed="data" not in value)
        if form.pattern is not None and not form.typed:
            hint = "Leave `data` out, or write the size."
            at = (*path, "shape", form.pattern.index(None))
            reading.refuse(at, "invalid_size", "a tensor with `data` has a size in every dimension", hint)
        if form.typed and form.shape is None and form.pattern is None:
            hint = "Add `shape`, or `data`."
            reading.refuse((*path, "shape"), "missing_member", "a tensor without `data` needs its `shape`", hint)
        if self.held and form.requires_grad:
            at = (*path, "requires_grad")
            reading.refuse(at, "not_differentiable", "this tensor is held constant", "Leave `requires_grad` out.")
        return form

    @property
    def _record(self) -> Record:
        return _OPEN if self.open else _BARE if self.bare else _TENSOR

    def schema(self) -> Schema:
        """Return the JSON schema."""
        name = "OpenTensor" if self.open else "TensorType" if self.bare else "Tensor"
        return {"$ref": f"#/components/schemas/{name}"}


def _form(members: Mapping[str, Any], *, typed: bool) -> TensorForm:
    shape = members["shape"]
    if shape is not None and None in shape:
        return TensorForm(members["dtype"], None, members["requires_grad"], typed=typed, pattern=shape)
    return TensorForm(members["dtype"], shape, members["requires_grad"], typed=typed)


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

OPEN_TENSOR: Schema = {
    "description": "A tensor, or its type: shape and dtype without values, null in the shape for any size.",
    "anyOf": [{"$ref": "#/components/schemas/Values"}, _OPEN.schema()],
}

TENSOR_TYPE: Schema = {
    "description": "A tensor, or its type: shape and dtype without values.",
    "anyOf": [{"$ref": "#/components/schemas/Values"}, _BARE.schema()],
}
