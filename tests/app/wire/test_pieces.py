"""What is long is read and written piece by piece: the same values and the same bytes as at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from app.errors import ProblemError
from app.evaluation.evaluator import Call, Evaluator
from app.settings import Settings
from app.wire import decode
from app.wire.codec import JSON
from app.wire.json import long_values as cutting
from app.wire.json import reply as json_reply
from app.wire.reply import ReplyTensor

EVALUATOR = Evaluator(Settings())
NEVER = 2**62

VALUES = {
    "float64": st.floats(),
    "float32": st.floats(width=32),
    "float16": st.floats(width=16),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "uint8": st.integers(0, 255),
    "bool": st.booleans(),
}


@st.composite
def any_array(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    dtype = draw(st.sampled_from(sorted(VALUES)))
    shape = draw(arrays.array_shapes(min_dims=1, max_dims=4, max_side=6))
    array = draw(arrays.arrays(dtype, shape, elements=VALUES[dtype]))
    return array.T if draw(st.booleans()) else array


@given(any_array(), any_array(), st.sampled_from(["json", "base64"]), st.integers(1, 40))
def test_pieces_are_what_is_written_at_once(
    first: np.ndarray[Any, Any], second: np.ndarray[Any, Any], encoding: str, piece: int
) -> None:
    members = {"a": first, "b": {"c": ReplyTensor(second, {"more": "[]"})}, "d": [1, None], "e": np.array(2.0)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_reply, "LONG", NEVER)
        whole = JSON.write(members, encoding)
        patch.setattr(json_reply, "LONG", 9)  # numbers alone are never long
        patch.setattr(json_reply, "_PIECE", piece)
        assert JSON.write(members, encoding) == whole


@given(any_array(), st.sampled_from([4, 8, 12]), st.integers(-4, 4), st.sampled_from(["", "=", "A", "-", "é", "\n"]))
def test_base64_is_decoded_as_it_is_at_once(array: np.ndarray[Any, Any], piece: int, at: int, damage: str) -> None:
    body = JSON.write({"graph": {"tensors": {"x": array}}, "outputs": ["x"], "encoding": "base64"}, "base64")
    place = body.index(b'"data":"') + len(b'"data":"') + max(at, -7)
    body = body[:place] + damage.encode() + body[place:] if damage else body
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutting, "LONG_STRING", NEVER)
        whole = answer(body)
        patch.setattr(cutting, "LONG_STRING", 4)
        patch.setattr(cutting, "LONG_LIST", 4)
        patch.setattr(decode, "_PIECE", piece)
        assert answer(memoryview(body)) == whole


def answer(body: bytes | memoryview) -> Any:
    try:
        return EVALUATOR.answer(Call("forward", body)).body
    except ProblemError as problem:
        return problem.status, problem.document(None)


@pytest.mark.parametrize("shape", [(40_000,), (1, 40_000), (2, 3, 7000), (10_000, 2, 2), (40_000, 1)])
def test_large_arrays_of_any_shape(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(1).standard_normal(shape)
    array.flat[[0, 100, -1]] = np.nan, -0.0, np.inf
    assert array.nbytes > json_reply.LONG
    text = JSON.write({"x": array}, "json")
    body = b'{"graph": {"tensors": %b}, "outputs": ["x"], "encoding": "base64"}' % text
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_reply, "LONG", NEVER)
        assert JSON.write({"x": array}, "json") == text
        assert answer(body) == answer(memoryview(body))
