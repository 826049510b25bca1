"""A tensor's values as they were sent, lists, base64 or raw bytes, to a NumPy array: exactly, or not at all.

Lists are flattened level by level, which finds ragged ones, and converted at once where all leaves are of one kind;
only where that fails is each element looked at, to name the one at fault.
"""

from __future__ import annotations

import binascii
import math
from collections.abc import Callable
from itertools import chain
from typing import Any, NamedTuple, NoReturn

import numpy as np
import pybase64

from app.errors import InvalidRequest
from app.schemas.faults import WORDS, short
from app.schemas.tensor import TensorForm
from app.wire.json.long_values import Packed
from app.wire.json.numbers import Array, Numbers
from engine import Category, DType, Fault, Path, Shape, bool_

MAX_NESTING = 64
"""NumPy's own bound on dimensions; the limit on a tensor's rank is the engine's."""

_EXACT = 2**53
"""Floats up to here have every integer; beyond it one may stand for several."""


class _Leaves(NamedTuple):
    """Nested lists, flattened: the leaves, the shape in which they were nested, and their Python types."""

    flat: list[Any]
    shape: Shape
    kinds: set[type]
    path: Path

    def path_of(self, index: int) -> Path:
        """Return the path of a leaf."""
        return (*self.path, *_unravel(index, self.shape))


_VALUE = 4
"""Bytes that a number in a list has at least, a comma included, that is none of a long list of plain numbers."""

Slowly = Callable[[int], None]
"""Called with the bytes of a list of numbers that is about to be read number by number; may raise to stop that."""


def at_ease(size: int) -> None:
    """Let every list be read."""


def decode(data: Any, form: TensorForm, path: Path, default: DType, slowly: Slowly = at_ease) -> Array:
    """Return the array that `data`, which stands at `path`, writes down.

    `form` has the dtype and the shape that go with it, if they were given; `default` is the dtype of numbers that
    name none. Raises InvalidRequest, and what `slowly` raises.
    """
    if type(data) is Numbers:
        return _from_numbers(data, form, path, default, slowly)
    if type(data) is Packed:
        return _from_base64(data.characters, form, path, default)
    if type(data) is bytes:
        return _from_bytes(data, form, path, default)
    if type(data) is str and data not in WORDS:
        return _from_base64(data, form, path, default)
    if type(data) is list and slowly is not at_ease:
        slowly(_VALUE * sum([len(item) if type(item) is list else 1 for item in data]))
    leaves = _flatten(data, path)
    dtype = form.dtype or (bool_ if leaves.kinds == {bool} else default)
    return _shaped(_CONVERSIONS[dtype.category](leaves, dtype), leaves.shape, form.shape, path)


def _from_numbers(numbers: Numbers, form: TensorForm, path: Path, default: DType, slowly: Slowly) -> Array:
    """Return the array of a long list of numbers; one that is not as simple as that goes the way of the others."""
    dtype = form.dtype or default
    wide = numbers.read(dtype)
    if wide is not None:
        array, misfits = _narrowed(wide, dtype)
        if not misfits.any():
            return _shaped(array, wide.shape, form.shape, path)
    slowly(numbers.end - numbers.begin)
    try:
        lists = numbers.lists(signed=dtype.is_floating)
    except ValueError:  # reading the request as a whole tells why
        _refuse(path, "malformed_json", "the list is not JSON", "Send strict JSON.")
    return decode(lists, form, path, default)


def _refuse(path: Path, code: str, detail: str, hint: str) -> NoReturn:
    raise InvalidRequest([Fault(path, code, detail, hint)])


def _flatten(data: Any, path: Path) -> _Leaves:
    if type(data) is not list:
        return _Leaves([data], (), {type(data)}, path)
    level: list[Any] = data
    shape: Shape = (len(data),)
    kinds = set(map(type, level))
    while list in kinds:
        sizes = set(map(len, level)) if len(kinds) == 1 else set()
        if len(sizes) != 1:
            _refuse_ragged(level, shape, path)
        if len(shape) == MAX_NESTING:
            _refuse(
                path, "too_many_dimensions", f"the lists nest deeper than {MAX_NESTING} levels", "Nest fewer lists."
            )
        level, shape = list(chain.from_iterable(level)), (*shape, *sizes)
        kinds = set(map(type, level))
    return _Leaves(level, shape, kinds, path)


def _refuse_ragged(level: list[Any], shape: Shape, path: Path) -> NoReturn:
    """Name the first item of the level that is not like the item before all others."""
    sizes = [len(item) if type(item) is list else None for item in level]
    index = next(index for index, size in enumerate(sizes) if size != sizes[0])
    _refuse(
        (*path, *_unravel(index, shape)),
        "ragged_data",
        f"the lists are ragged: {_size(sizes[index])} stands where the first is {_size(sizes[0])}",
        "All lists of one level need the same number of items.",
    )


def _size(size: int | None) -> str:
    return "a single value" if size is None else f"a list of {size}"


def _unravel(index: int, shape: Shape) -> tuple[int, ...]:
    indices = []
    for size in reversed(shape):
        index, last = divmod(index, size)
        indices.append(last)
    return tuple(reversed(indices))


def _shaped(array: Array, nested: Shape, shape: Shape | None, path: Path) -> Array:
    """Return the array, whose numbers were nested so, in the shape that was given with them."""
    if shape is None or shape == nested:
        return array.reshape(nested)
    if not array.size and shape[: len(nested)] == nested:  # lists cannot nest below a size of 0
        return array.reshape(shape)
    if len(nested) != 1 or array.size != math.prod(shape):
        given = f"{array.size} values" if len(nested) == 1 else f"data of shape {list(nested)}"
        _refuse_shape(path, given, shape)
    return array.reshape(shape)


def _refuse_shape(path: Path, given: str, shape: Shape) -> NoReturn:
    _refuse(
        path,
        "shape_mismatch",
        f"{given} cannot fill the shape {list(shape)}, which has {math.prod(shape)} elements",
        "Give as many values as the shape has elements, or leave `shape` out and nest the lists.",
    )


def _booleans(leaves: _Leaves, dtype: DType) -> Array:
    """Literals true and false; 0 and 1 where the tensor says that it is bool."""
    if not leaves.kinds <= {bool} and not (leaves.kinds == {int} and set(leaves.flat) <= {0, 1}):
        _refuse_leaf(leaves, dtype, lambda leaf: type(leaf) is int and leaf in {0, 1})
    return np.array(leaves.flat, np.bool_)


def _integers(leaves: _Leaves, dtype: DType) -> Array:
    flat = leaves.flat if leaves.kinds <= {int} or leaves.kinds == {bool} else _whole_numbers(leaves, dtype)
    bounds = np.iinfo(dtype.numpy)
    try:
        wide = np.fromiter(flat, np.int64, len(flat))
    except OverflowError:
        _refuse_leaf(leaves, dtype, lambda leaf: bounds.min <= leaf <= bounds.max)
    return _fitting(wide, leaves, dtype)


def _fitting(wide: Array, leaves: _Leaves, dtype: DType) -> Array:
    """Return the numbers, which are those of the leaves, in their dtype."""
    if wide.dtype == dtype.numpy:
        return wide
    array, misfits = _narrowed(wide, dtype)
    if misfits.any():
        _refuse_number(leaves, int(misfits.argmax()), dtype)
    return array


def _narrowed(wide: Array, dtype: DType) -> tuple[Array, Array]:
    """Return float64 or int64 numbers in another dtype, and which of them it does not hold."""
    if wide.dtype == dtype.numpy:
        return wide, _NONE
    with np.errstate(over="ignore"):
        array = wide.astype(dtype.numpy)
    if dtype.is_floating:
        return array, np.isinf(array) & np.isfinite(wide)
    return array, array != wide


_NONE = np.zeros(1, np.bool_)


def _whole_numbers(leaves: _Leaves, dtype: DType) -> list[int]:
    """Return the leaves where some are floats: `1.0` and `1e3` are integers, if their every digit is known."""
    if not all(map(_is_whole, leaves.flat)):
        _refuse_leaf(leaves, dtype, _is_whole)
    return [int(leaf) for leaf in leaves.flat]


def _is_whole(leaf: Any) -> bool:
    return type(leaf) is int or (type(leaf) is float and leaf.is_integer() and abs(leaf) <= _EXACT)


def _floats(leaves: _Leaves, dtype: DType) -> Array:
    flat = leaves.flat if leaves.kinds <= _NUMBERS or leaves.kinds == {bool} else _with_words(leaves, dtype)
    return _fitting(np.fromiter(flat, np.float64, len(flat)), leaves, dtype)


_NUMBERS = {int, float}


def _with_words(leaves: _Leaves, dtype: DType) -> list[Any]:
    """Return the leaves where some are strings, each of the three words replaced by its number."""
    if not all(map(_is_number, leaves.flat)):
        _refuse_leaf(leaves, dtype, _is_number)
    return [WORDS[leaf] if type(leaf) is str else leaf for leaf in leaves.flat]


def _is_number(leaf: Any) -> bool:
    return type(leaf) in _NUMBERS or (type(leaf) is str and leaf in WORDS)


# Complex tensors are refused by name while the request's structure is read.
_CONVERSIONS: dict[Category, Callable[[_Leaves, DType], Array]] = {
    Category.BOOL: _booleans,
    Category.INTEGER: _integers,
    Category.FLOAT: _floats,
}


def _refuse_leaf(leaves: _Leaves, dtype: DType, fits: Callable[[Any], bool]) -> NoReturn:
    """Refuse the first leaf that does not fit."""
    index = next(index for index, leaf in enumerate(leaves.flat) if not fits(leaf))
    leaf = leaves.flat[index]
    if type(leaf) in _NUMBERS:
        _refuse_number(leaves, index, dtype)
    code, what, hint = _MISFITS.get(type(leaf), _OTHER)
    _refuse(leaves.path_of(index), code, what.format(leaf=short(leaf), dtype=dtype), hint)


_MISFITS: dict[type, tuple[str, str, str]] = {
    type(None): ("null_value", "null is no value of a tensor", 'Leave it out, or write "NaN" for a missing number.'),
    bool: ("bool_among_numbers", "true or false stands among numbers", "Write 1 or 0, or only true and false."),
    dict: ("not_a_number", "an object is no value of a tensor", "Give numbers, or nested lists of them."),
    str: (
        "not_a_number",
        "the string {leaf} is no value of a {dtype} tensor",
        'Floating tensors take "NaN", "Infinity" and "-Infinity"; other numbers are written without quotes.',
    ),
    bytes: ("not_a_number", "raw bytes stand among numbers", "Give all of `data` as raw bytes, or none of it."),
}
_OTHER = ("not_a_number", "this is no value of a tensor", "Give numbers, or nested lists of them.")


def _refuse_number(leaves: _Leaves, index: int, dtype: DType) -> NoReturn:
    leaf = leaves.flat[index]
    _refuse(
        leaves.path_of(index),
        "value_not_representable",
        f"{short(leaf)} is no value of {dtype}",
        f"{_range(dtype)} Declare a dtype that holds it.",
    )


def _range(dtype: DType) -> str:
    if dtype.is_floating:
        return f"{dtype} ends at {np.finfo(dtype.numpy).max:g}."
    if dtype.is_integral:
        bounds = np.iinfo(dtype.numpy)
        return f"{dtype} has the integers from {bounds.min} to {bounds.max}, written without a fraction."
    return "bool has true and false, also written 1 and 0."


def _from_base64(text: str | memoryview, form: TensorForm, path: Path, default: DType) -> Array:
    if form.shape is None:
        _refuse(
            path,
            "not_a_number",
            f"the string {short(text)} is not a number",
            'Base64 data needs `shape` beside it. The strings that are numbers are "NaN", "Infinity", "-Infinity".',
        )
    decoded = _pieces_decoded(text) if type(text) is memoryview else None
    if decoded is not None:
        return _from_bytes(decoded, form, path, default)
    try:
        raw = pybase64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        _refuse(path, "malformed_base64", f"the data is not base64: {error}", "Send standard base64 with its padding.")
    return _from_bytes(raw, form, path, default)


_PIECE = 2**18
"""Characters of base64 that are decoded at once: four stand for three bytes, and all of them stay in the cache."""


def _pieces_decoded(text: memoryview) -> Array | None:
    """Return the bytes that base64 stands for, decoded piece by piece; None where it is not as it should be."""
    padding = bytes(text[-2:]).count(b"=")
    try:
        raw: Array = np.empty(len(text) // 4 * 3 - padding, np.uint8)
        for begin in range(0, len(text), _PIECE):
            piece = pybase64.b64decode(text[begin : begin + _PIECE], validate=True)
            place = raw[begin // 4 * 3 :][: _PIECE // 4 * 3]
            if len(piece) != len(place):
                return None
            place[:] = np.frombuffer(piece, np.uint8)
    except (binascii.Error, ValueError):
        return None
    return raw


def _from_bytes(raw: bytes | Array, form: TensorForm, path: Path, default: DType) -> Array:
    """Return an array over these bytes, little-endian and row by row; they are not copied."""
    if form.shape is None:
        hint = 'Write the tensor as {"data": …, "shape": […]}.'
        _refuse(path, "missing_shape", "raw bytes do not tell their shape", hint)
    dtype = form.dtype or default
    if len(raw) != dtype.itemsize * math.prod(form.shape):
        _refuse_shape(path, f"{len(raw)} bytes of {dtype}, {dtype.itemsize} an element,", form.shape)
    if dtype is bool_ and (np.frombuffer(raw, np.uint8) > 1).any():
        _refuse(path, "value_not_representable", "a byte of a bool tensor is neither 0 nor 1", "Send bytes 0 and 1.")
    return np.frombuffer(raw, dtype.numpy.newbyteorder("<")).reshape(form.shape).astype(dtype.numpy, copy=False)
