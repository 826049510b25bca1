"""Whatever a tensor holds, it comes back as it was sent: bit for bit, in JSON, in base64 and in MessagePack."""

from typing import Any

import msgpack
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from app.schemas.tensor import TensorForm
from app.wire.codec import JSON, MSGPACK
from app.wire.decode import decode
from app.wire.reply import raw_bytes
from engine.graph.types import DTYPES, float64

REAL = [name for name, dtype in DTYPES.items() if not dtype.is_complex]

EXTREMES: dict[str, list[Any]] = {
    "bool": [True, False],
    "uint8": [0, 255],
    "int8": [-128, 127],
    "int16": [-(2**15), 2**15 - 1],
    "int32": [-(2**31), 2**31 - 1],
    "int64": [-(2**63), 2**63 - 1, 2**53 + 1, -(2**53) - 1],
    "float16": [6e-8, -6e-8, 65504.0, -0.0, 0.1, np.nan, np.inf, -np.inf],
    "float32": [1e-45, 3.4028235e38, -0.0, 0.1, 1 / 3, np.nan, np.inf, -np.inf],
    "float64": [5e-324, 1.7976931348623157e308, -0.0, 0.1, 1 / 3, 2**53 + 2.0, 1e22, 1e23, np.nan, np.inf, -np.inf],
}


WAYS: dict[str, Any] = {
    "numbers": lambda members: orjson.loads(JSON.write(members, "json")),
    "base64": lambda members: orjson.loads(JSON.write(members, "base64")),
    "MessagePack": lambda members: msgpack.unpackb(MSGPACK.write(members, "json")),
}
"""How a reply is written, and read as a client would."""


def there_and_back(array: np.ndarray[Any, Any], way: str) -> np.ndarray[Any, Any]:
    sent = WAYS[way]({"x": array})["x"]
    assert list(sent) == ["dtype", "shape", "data"]
    form = TensorForm(DTYPES[sent["dtype"]], tuple(sent["shape"]))
    return decode(sent["data"], form, ("x", "data"), float64)


def assert_same(array: np.ndarray[Any, Any], back: np.ndarray[Any, Any]) -> None:
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(back, array)
    if array.dtype.kind == "f":  # of NaN, JSON keeps that it is one, not its sign
        np.testing.assert_array_equal(np.signbit(back) & ~np.isnan(back), np.signbit(array) & ~np.isnan(array))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", REAL)
def test_extremes(name: str, way: str) -> None:
    array = np.array(EXTREMES[name], name)
    for shaped in (array, array[:0], array[0], array[:2].reshape(1, 2, 1), np.array([array, array]).T, array[::-1]):
        assert_same(np.asarray(shaped), there_and_back(np.asarray(shaped), way))


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 2), (3, 0, 2), (), (1,) * 32, (2, 1) * 8])
def test_shapes(shape: tuple[int, ...]) -> None:
    for way in WAYS:
        assert_same(np.zeros(shape), there_and_back(np.zeros(shape), way))


@pytest.mark.parametrize("name", REAL)
@given(data=st.data())
def test_any_array(name: str, data: st.DataObject) -> None:
    array = data.draw(arrays.arrays(name, arrays.array_shapes(min_dims=0, min_side=0, max_dims=4)))
    for way in WAYS:
        assert_same(array, there_and_back(array, way))


@pytest.mark.parametrize("name", REAL)
def test_raw_bytes_are_little_endian_and_row_by_row(name: str) -> None:
    array = np.array(EXTREMES[name], name)[:2]
    for swapped in (array.astype(array.dtype.newbyteorder(">")), array.astype(array.dtype.newbyteorder("<"))):
        assert bytes(raw_bytes(swapped)) == array.astype(array.dtype.newbyteorder("<")).tobytes()
    columns = np.array([array, array, array])
    assert bytes(raw_bytes(columns.T)) == columns.T.copy().tobytes()


def test_a_reply_has_one_copy_of_an_array_and_a_request_is_read_without_any() -> None:
    array = np.arange(4.0)
    assert np.shares_memory(np.asarray(raw_bytes(array)), array)
    raw = array.tobytes()
    read = decode(raw, TensorForm(shape=(2, 2)), (), float64)
    assert read.ctypes.data == np.frombuffer(raw).ctypes.data
    assert read.flags.aligned
    assert not read.flags.writeable


@given(st.lists(st.floats(width=64)))
def test_decimal_numbers_are_read_to_the_nearest_double(numbers: list[float]) -> None:
    words = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
    written = [words.get(str(number), number) for number in numbers]
    np.testing.assert_array_equal(decode(orjson.loads(orjson.dumps(written)), TensorForm(), (), float64), numbers)


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_every_int64_is_exact(numbers: list[int]) -> None:
    array = decode(orjson.loads(orjson.dumps(numbers)), TensorForm(DTYPES["int64"]), (), float64)
    assert array.tolist() == numbers


def test_narrow_floats_are_printed_with_few_digits() -> None:
    for name, text in (("float16", b"[0.099975586]"), ("float32", b"[0.1]"), ("float64", b"[0.1]")):
        assert JSON.write({"x": np.array([0.1], name)}, "json").endswith(b'"data":' + text + b"}}")
