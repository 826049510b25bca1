"""Long strings are read as short ones are: the same bytes, or the same faults. Lists: `test_numbers.py`."""

from __future__ import annotations

import binascii
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import ProblemError
from app.evaluation.evaluator import Call, Evaluator
from app.settings import Settings
from app.wire.json import body as json_body
from app.wire.json import long_values as cutting
from app.wire.json.long_values import Packed

EVALUATOR = Evaluator(Settings())
SECTIONS = {"tensors": ("graph", "tensors")}
NEVER = 2**62


def answer(body: bytes, long: int) -> Any:
    """The reply, or the problem document; strings from so many bytes on are long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutting, "LONG_LIST", 12)
        patch.setattr(cutting, "LONG_STRING", long)
        try:
            return EVALUATOR.answer(Call("forward", body)).body
        except ProblemError as problem:
            return problem.status, problem.document(None)


BASE64 = st.binary(min_size=9, max_size=40).map(lambda raw: binascii.b2a_base64(raw, newline=False).decode())
DAMAGE = st.sampled_from(["", "=", " ", "\n", "-", "_", "é", "\x00", "\x7f", '"', "\\", "\\n", "\\u0041", "}", "A"])


@st.composite
def damaged(draw: st.DrawFn) -> str:
    text = draw(BASE64)
    at = draw(st.integers(0, len(text)))
    return text[:at] + draw(DAMAGE) + text[at + draw(st.integers(0, 1)) :]


@given(BASE64 | damaged(), st.sampled_from(["float64", "float16", "int8", "bool"]), st.integers(0, 20) | st.none())
def test_strings_are_answered_the_same(text: str, dtype: str, size: int | None) -> None:
    shape = "" if size is None else f', "shape": [{size}]'
    tensors = f'{{"x": {{"data": "{text}", "dtype": "{dtype}"{shape}}}, "y": "{text}", "z": [0.25, -0, 1e3]}}'
    for outputs in ('["x"]', f'["{text}"]'):
        body = f'{{"graph": {{"tensors": {tensors}}}, "outputs": {outputs}}}'.encode()
        assert answer(body, 10) == answer(body, NEVER)


def test_long_base64_is_read_from_the_text() -> None:
    array = np.arange(2000.0)
    text = binascii.b2a_base64(array.tobytes(), newline=False).decode()
    body = orjson.dumps({"graph": {"tensors": {"x": {"data": text, "shape": [2000]}}}, "outputs": ["x"]})
    [value] = json_body.read(body, SECTIONS).values["tensors"].values()
    assert isinstance(value, Packed)
    assert bytes(value.characters) == text.encode()
    assert orjson.loads(EVALUATOR.answer(Call("forward", body)).body)["outputs"]["x"]["data"] == array.tolist()


@pytest.mark.parametrize("name", ["a" * 10_000, "b" * 8193])
def test_other_long_strings_stay(name: str) -> None:
    body = orjson.dumps({"graph": {"tensors": {name: [1, 2]}}, "outputs": [name]})
    assert json_body.read(body, SECTIONS).values["tensors"] == {name: [1, 2]}
