"""Long lists of numbers are read as short ones are: the same values, bit for bit, or the same faults."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.errors import ProblemError
from app.evaluation.evaluator import Call, Evaluator
from app.settings import Settings
from app.wire.json import body as json_body
from app.wire.json import long_values as cutting
from app.wire.json import numbers
from app.wire.json.long_values import cut
from app.wire.json.numbers import Numbers
from engine.graph.types import DTYPES, float64

EVALUATOR = Evaluator(Settings())
NEVER = 2**62


@pytest.fixture(autouse=True)
def every_list_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short texts go the way of long ones, in pieces of a few numbers."""
    monkeypatch.setattr(cutting, "LONG_LIST", 2)
    monkeypatch.setattr(numbers, "_PIECE", 30)


def answer(body: bytes, long: int) -> Any:
    """The reply, or the problem document; lists from so many bytes on are long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutting, "LONG_LIST", long)
        try:
            return EVALUATOR.answer(Call("forward", body)).body
        except ProblemError as problem:
            return problem.status, problem.document(None)


def read(text: str, dtype: str = "float64") -> np.ndarray[Any, Any] | None:
    """The values of one list, or None where it is left to the slow way."""
    shortened, found = cut(f'{{"x": {text}}}'.encode())
    [(mark, held)] = found.items()
    assert isinstance(held, Numbers)
    assert orjson.loads(shortened) == {"x": mark}
    return held.read(DTYPES[dtype])


NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats(width=32, allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(2**63), 2**64 - 1).map(str),
    st.integers(-300, 300).map(str),
    st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
    st.sampled_from(
        ["0", "-0", "-0.0", "1e-0", "-0e0", "0E+0", "5e-324", "2.4703282292062327e-324", "1e-400", "-0E-5"]
    ),
)
ODD = st.sampled_from(
    ["1e400", "-1e309", str(2**64), str(-(2**63) - 1), "01", "1.", ".5", "+1", "-", "1e", "0x1", "NaN", "Infinity",
     "true", "false", "null", '"NaN"', '"x"', "{}", '{"a": 1}', "", " ", "1 2", "[", "]", "[]", "[1]2", "1[2]", "\\"]
)  # fmt: skip


def nested(item: st.SearchStrategy[str], shape: tuple[int, ...]) -> st.SearchStrategy[str]:
    """Regular lists of this shape, with white space anywhere."""
    if not shape:
        return item
    items = st.lists(nested(item, shape[1:]), min_size=shape[0], max_size=shape[0])
    space = st.sampled_from(["", "", " ", "\n", "\t \r"])
    return st.tuples(items, space, space).map(lambda parts: f"[{parts[1]}{f'{parts[2]},{parts[1]}'.join(parts[0])}]")


REGULAR = st.lists(st.integers(1, 5), min_size=1, max_size=4).flatmap(lambda shape: nested(NUMBERS, tuple(shape)))
IRREGULAR = st.recursive(
    NUMBERS | ODD, lambda item: st.lists(item, max_size=6).map(lambda items: f"[{','.join(items)}]"), max_leaves=20
)


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """Regular lists in which a character is another, missing, or there twice."""
    text = draw(REGULAR)
    at = draw(st.integers(0, len(text) - 1))
    return (
        text[:at]
        + draw(st.sampled_from(["", ",", "[", "]", "-", "0", ".", "e", " ", '"', ":", "}", text[at] * 2]))
        + (text[at + 1 :])
    )


def bodies(values: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    """Requests that hold such values: alone, under `data`, with a dtype or a shape, beside other tensors."""
    dtype = st.sampled_from([name for name, dtype in DTYPES.items() if not dtype.is_complex])
    shape = st.lists(st.integers(0, 4), max_size=3)
    tensor = st.one_of(
        values,
        values.map(lambda text: f'{{"data": {text}}}'),
        st.tuples(values, dtype).map(lambda parts: f'{{"data": {parts[0]}, "dtype": "{parts[1]}"}}'),
        st.tuples(values, shape).map(lambda parts: f'{{"shape": {parts[1]}, "data":{parts[0]}}}'),
    )
    whole = '{{"graph": {{"tensors": {{"x": {}, "y": {}}}}}, "outputs": ["x", "y"]}}'
    return st.tuples(tensor, tensor).map(lambda pair: whole.format(*pair).encode())


@given(bodies(REGULAR))
@example(b'{"graph": {"tensors": {"x": {"data": [-0, 1, 0, 1, 1, 1], "dtype": "bool"}}}, "outputs": ["x"]}')
def test_regular_lists_are_read_the_same(body: bytes) -> None:
    assert answer(body, 2) == answer(body, NEVER)


@given(bodies(IRREGULAR | damaged()))
def test_whatever_is_sent_is_answered_the_same(body: bytes) -> None:
    assert answer(body, 2) == answer(body, NEVER)


@given(bodies(REGULAR | damaged()), st.data())
def test_requests_that_are_damaged_elsewhere_are_answered_the_same(body: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(body) - 1))
    body = (
        body[:at]
        + data.draw(st.sampled_from([b"", b'"', b"\\", b"{", b"}", b"[", b"]", b":", b"1", b","]))
        + (body[at + 1 :])
    )
    assert answer(body, 2) == answer(body, NEVER)


@given(REGULAR)
def test_regular_numbers_are_read_fast_and_exactly(text: str) -> None:
    found = read(text)
    if found is None:  # an integer `-0`, or one that may be wider than 64 bits, an overflow, a long number
        assert re.search(r"(?<![eE])-0[,\]\s]|\d{19}|[eE]\+?\d{3}|[^,]{25}", text)
        return
    slow = np.array(orjson.loads(text), np.float64)
    assert found.shape == slow.shape
    assert found.tobytes() == slow.tobytes()


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_integers_are_read_fast_and_exactly(values: list[int]) -> None:
    found = read(str(values), "int64")
    assert found is not None
    assert found.tolist() == values


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("[1]", (1,)),
        ("[1,2,3]", (3,)),
        ("[[1],[2]]", (2, 1)),
        ("[[[1,2],[3,4],[5,6]]]", (1, 3, 2)),
        ("[" * 64 + "1" + "]" * 64, (1,) * 64),
        ("[[1,2],[3]]", None),
        ("[[1],[2,3]]", None),
        ("[1,[2]]", None),
        ("[[1],2]", None),
        ("[[1,2],[[3],[4]]]", None),
        ("[]", None),
        ("[[],[]]", None),
        ("[[1],[]]", None),
        ("[1,]", None),
        ("[,1]", None),
        ("[1,,2]", None),
        ("[[1,2],[,2]]", None),
        ("[[1,2],[2,]]", None),
        ("[1[2]]", None),
        ("[[1]2]", None),
        ("[1 2]", None),
        ("[" * 65 + "1" + "]" * 65, None),
        ("[1,true]", None),
        ("[1,null]", None),
        ("[1e400]", None),
        ("[-0]", None),
        ("[0,1e-0,-0.0]", (3,)),
        (f"[{2**64}]", None),
    ],
)
@pytest.mark.parametrize("piece", [4, 5, 7, 2**17])
def test_shapes(text: str, shape: Any, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers, "_PIECE", max(piece, 140 if text.startswith("[[[[[[") else 0))
    found = read(text)
    if piece > len(text):
        assert (None if found is None else found.shape) == shape
    else:
        assert found is None or found.shape == shape


@pytest.mark.parametrize("text", ["[1.5]", "[1.0]", "[1e3]", f"[{2**63}]"])
def test_integers_that_are_not_plain_take_the_slow_way(text: str) -> None:
    assert read(text, "int64") is None


def values_of(document: Any) -> Iterator[Any]:
    for values in document.values.values():
        yield from values.values()


SECTIONS = {"tensors": ("graph", "tensors")}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ('{"graph": {"tensors": {"x": [1, 2], "y": {"data": [[3]]}}}}', 2),
        ('{"graph": {"tensors": {"x": [1, 2]}, "ops": [{"inputs": ["x", [1, 2]]}]}}', 1),
        ('{"graph": {"tensors": {"x": [1, 2]}}, "wrt": [1, 2]}', 0),
        ('{"graph": {"tensors": {"x": {"data": [1, 2], "shape": [1, 2]}}}}', 0),
        ('{"graph": {"tensors": {"x\\\\": [1, 2]}}}', 0),
        ('{"graph": {"tensors": {"x": ["NaN", 1, 2, 3]}}}', 0),
        ('{"graph": {"tensors": {"x": {}, "y": 12345}}}', 0),
        ('{"graph": {"tensors": {":[1,2]": [1, 2]}}}', 1),
    ],
)
def test_long_lists_are_values_of_tensors_or_stay(text: str, count: int) -> None:
    document = json_body.read(text.encode(), SECTIONS)
    whole = document.whole()
    assert sum(type(value) is Numbers for value in values_of(document)) == count
    assert not any(type(value) is Numbers for value in values_of(whole))
    assert (document.skeleton, document.key) == (whole.skeleton, whole.key)


def test_a_mark_cannot_be_sent() -> None:
    text = orjson.dumps({"graph": {"tensors": {"x": f"{cutting._PLACEHOLDER}0"}}})
    assert list(values_of(json_body.read(text, SECTIONS))) == [f"{cutting._PLACEHOLDER}0"]


def test_a_million_numbers_are_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    array = np.random.default_rng(0).standard_normal((1000, 100))
    text = orjson.dumps({"x": array}, option=orjson.OPT_SERIALIZE_NUMPY)
    [held] = cut(text)[1].values()
    assert isinstance(held, Numbers)
    found = held.read(float64)
    assert found is not None
    np.testing.assert_array_equal(found, array, strict=True)
