"""Converts a tensor's values (nested lists, base64 or raw bytes) to a NumPy array without loss.

Nested lists are flattened level by level, which finds ragged lists. The leaves are converted together. If this fails,
each leaf is checked, to find the first faulty leaf. `app.wire.values` calls it.
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
"""The maximum rank of a NumPy array. The engine has its own limit on the rank of tensors."""

_EXACT = 2**53
"""The largest number up to which float64 represents every integer exactly."""


class _Leaves(NamedTuple):
    """Flattened nested lists: the leaves in order, the shape of the lists, and the Python types of the leaves.

    `path` is the path of the outermost list in the request.
    """

    flat: list[Any]
    shape: Shape
    kinds: set[type]
    path: Path

    def path_of(self, index: int) -> Path:
        """Return the path of a leaf in the request."""
        return (*self.path, *_unravel(index, self.shape))


_VALUE = 4
"""Assumed minimum bytes of a number with its comma, in a list that was decoded to Python objects."""

Slowly = Callable[[int], None]
"""Called with the bytes of a list before it is decoded number by number. It may raise an exception to prevent that."""


def at_ease(size: int) -> None:
    """Allow a list of any size."""


def decode(data: Any, form: TensorForm, path: Path, default: DType, slowly: Slowly = at_ease) -> Array:
    """Return the array for a tensor's decoded JSON or MessagePack `data`. `path` is its path in the request.

    `form` contains the declared dtype and shape, or None for each. `default` is the dtype of numbers without a declared
    dtype. Raises InvalidRequest, and the exceptions of `slowly`.
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
    """Return the array of a long list of numbers. A list that is not plain is decoded to Python objects first."""
    dtype = form.dtype or default
    wide = numbers.read(dtype)
    if wide is not None:
        array, misfits = _narrowed(wide, dtype)
        if not misfits.any():
            return _shaped(array, wide.shape, form.shape, path)
    slowly(numbers.end - numbers.begin)
    try:
        lists = numbers.lists(signed=dtype.is_floating)
    except ValueError:  # the second decoding of the whole request finds the reason
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
    """Raise InvalidRequest for the first item of the level whose length is not the length of the first item."""
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
    """Return the array in the declared `shape`, or in the shape `nested` of its lists if none is declared."""
    if shape is None or shape == nested:
        return array.reshape(nested)
    _check_dimensions(shape, path)
    if not array.size and shape[: len(nested)] == nested:  # an empty list has no inner lists
        return array.reshape(shape)
    if len(nested) != 1 or array.size != math.prod(shape):
        given = f"{array.size} values" if len(nested) == 1 else f"data of shape {list(nested)}"
        _refuse_shape(path, given, shape)
    return array.reshape(shape)


def _check_dimensions(shape: Shape, path: Path) -> None:
    """Raise InvalidRequest for a shape that no array can have. The other dimensions of an empty array count too."""
    if len(shape) > MAX_NESTING:
        detail = f"the shape has {len(shape)} dimensions, over the limit of {MAX_NESTING}"
        _refuse(path, "too_many_dimensions", detail, "Give a shorter shape.")
    if 0 in shape and math.prod(filter(None, shape)) > _MOST_ELEMENTS:
        detail = f"the dimensions of {list(shape)} multiply to more than {_MOST_ELEMENTS}, without the zeros"
        _refuse(path, "invalid_size", detail, "Give smaller dimensions.")


_MOST_ELEMENTS = 2**59
"""Limit on the product of dimensions without zeros. NumPy's own limit is 2**63 bytes, also for empty arrays."""


def _refuse_shape(path: Path, given: str, shape: Shape) -> NoReturn:
    _refuse(
        path,
        "shape_mismatch",
        f"{given} cannot fill the shape {list(shape)}, which has {math.prod(shape)} elements",
        "Give as many values as the shape has elements, or leave `shape` out and nest the lists.",
    )


def _booleans(leaves: _Leaves, dtype: DType) -> Array:
    """Return the array of true and false. 0 and 1 are valid if the declared dtype is bool."""
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
    """Return the numbers of the leaves in `dtype`. Raises InvalidRequest if a number is not representable."""
    if wide.dtype == dtype.numpy:
        return wide
    array, misfits = _narrowed(wide, dtype)
    if misfits.any():
        _refuse_number(leaves, int(misfits.argmax()), dtype)
    return array


def _narrowed(wide: Array, dtype: DType) -> tuple[Array, Array]:
    """Return float64 or int64 numbers in `dtype`, and a mask of the numbers that it cannot represent."""
    if wide.dtype == dtype.numpy:
        return wide, _NONE
    with np.errstate(over="ignore"):
        array = wide.astype(dtype.numpy)
    if dtype.is_floating:
        return array, np.isinf(array) & np.isfinite(wide)
    return array, array != wide


_NONE = np.zeros(1, np.bool_)


def _whole_numbers(leaves: _Leaves, dtype: DType) -> list[int]:
    """Return the leaves as integers. Floats such as `1.0` and `1e3` are valid up to 2**53 in magnitude."""
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
    """Return the leaves with numbers in place of the strings "NaN", "Infinity" and "-Infinity"."""
    if not all(map(_is_number, leaves.flat)):
        _refuse_leaf(leaves, dtype, _is_number)
    return [WORDS[leaf] if type(leaf) is str else leaf for leaf in leaves.flat]


def _is_number(leaf: Any) -> bool:
    return type(leaf) in _NUMBERS or (type(leaf) is str and leaf in WORDS)


# The validation of the request's structure rejects complex dtypes.
_CONVERSIONS: dict[Category, Callable[[_Leaves, DType], Array]] = {
    Category.BOOL: _booleans,
    Category.INTEGER: _integers,
    Category.FLOAT: _floats,
}


def _refuse_leaf(leaves: _Leaves, dtype: DType, fits: Callable[[Any], bool]) -> NoReturn:
    """Raise InvalidRequest for the first leaf for which `fits` is false."""
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
"""Characters of base64 in a piece, a multiple of four. A piece and its bytes fit in the processor's cache."""


def _pieces_decoded(text: memoryview) -> Array | None:
    """Return the bytes of base64 text, decoded piece by piece, or None if the text is invalid."""
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
    """Return the array of little-endian, row-major bytes. On a little-endian processor it shares their memory."""
    if form.shape is None:
        hint = 'Write the tensor as {"data": …, "shape": […]}.'
        _refuse(path, "missing_shape", "raw bytes do not tell their shape", hint)
    _check_dimensions(form.shape, path)
    dtype = form.dtype or default
    if len(raw) != dtype.itemsize * math.prod(form.shape):
        _refuse_shape(path, f"{len(raw)} bytes of {dtype}, {dtype.itemsize} an element,", form.shape)
    if dtype is bool_ and (np.frombuffer(raw, np.uint8) > 1).any():
        _refuse(path, "value_not_representable", "a byte of a bool tensor is neither 0 nor 1", "Send bytes 0 and 1.")
    return np.frombuffer(raw, dtype.numpy.newbyteorder("<")).reshape(form.shape).astype(dtype.numpy, copy=False)
