"""A request's text is taken apart, and what orjson is lax about is found."""

from typing import Any

import pytest

from app.errors import BadBody, BodyTooLarge, InvalidRequest, pointer
from app.wire.document import Document
from app.wire.json import body as json_body
from app.wire.json.body import read

SECTIONS = {"tensors": ("graph", "tensors"), "backward": ("backward",)}


def document(text: str | bytes) -> Document:
    return read(text.encode() if isinstance(text, str) else text, SECTIONS, frozenset({"seed"}))


def test_values_and_options_are_taken_out() -> None:
    found = document(
        '{"graph": {"tensors": {"a": [1], "b": {"data": 2, "dtype": "int8"}}}, "backward": {"l": null}, "seed": 3}'
    )
    assert found.values == {"tensors": {"a": [1], "b": 2}, "backward": {}}
    assert found.skeleton == {
        "graph": {"tensors": {"a": 0, "b": {"data": None, "dtype": "int8"}}},
        "backward": {"l": None},
    }
    assert found.options == {"seed": 3}


def test_the_key_depends_on_structure_alone() -> None:
    one = document('{"graph": {"tensors": {"a": [1, 2]}}, "seed": 1}')
    assert one.key == document('{"seed":9,"graph":{"tensors":{"a":3}}}').key
    assert one.key != document('{"graph": {"tensors": {"b": [1, 2]}}}').key
    assert one.key != document('{"graph": {"tensors": {"a": {"data": [1, 2]}}}}').key
    assert document('{"backward": {"a": null}}').key != document('{"backward": {"a": 0}}').key


@pytest.mark.parametrize(
    "text",
    [
        '{"a:b": "c:d"}',
        '{"a": ":", "b": {"a": ":"}}',
        '{"a": "\\u003a"}',
        '{"a": "\\u003A:"}',
        '{"graph": {"tensors": {"x": [{"a": 1}, {"a": 1}]}}}',
        '{"graph": {"tensors": {"x": "NaN:"}}}',
        '{"seed": "1:1"}',
        "{}",
        "[]",
        "1",
    ],
)
def test_colons_elsewhere_are_no_duplicates(text: str) -> None:
    document(text)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"a": 1, "a": 1}', "#/a"),
        ('{"seed": 1, "seed": 1}', "#/seed"),
        ('{"a": "\\u003a", "b": [{}, {"c": 1, "c": 2}]}', "#/b/1/c"),
        ('{"\\u0061": 1, "a": 2}', "#/a"),
        ('{"a": {"é": 1, "\\u00e9": 2}}', "#/a/%C3%A9"),
        ('{"graph": {"tensors": {"x": {"data": 1, "data": 1}}}}', "#/graph/tensors/x/data"),
    ],
)
def test_duplicates_are_found_wherever_they_stand(text: str, place: str) -> None:
    with pytest.raises(BadBody) as refused:
        document(text)
    assert (refused.value.code, pointer(refused.value.faults[0].path)) == ("duplicate_key", place)


@pytest.mark.parametrize("number", ["18446744073709551616", "-9223372036854775809", "1" + "0" * 40, "-1" + "0" * 300])
def test_integers_beyond_64_bits_are_refused_where_they_would_become_floats(number: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        document(f'{{"graph": {{"ops": [{{"attributes": {{"dim": {number}}}}}]}}}}')
    assert pointer(refused.value.faults[0].path) == "#/graph/ops/0/attributes/dim"


@pytest.mark.parametrize("number", ["1e30", "-1.5E+300", "100000000000000000000.0"])
def test_floats_and_64_bit_integers_are_read(number: str) -> None:
    assert document(f'{{"a": {number}}}').skeleton == {"a": float(number)}


def test_values_may_have_integers_of_any_size() -> None:
    assert document(f'{{"graph": {{"tensors": {{"x": [{10**30}]}}}}}}').values["tensors"] == {"x": [1e30]}


@pytest.mark.parametrize(
    ("values", "signed"),
    [
        ("[-0]", "[-0.0]"),
        ("[-0, 0,-0 ]", "[-0.0, 0, -0.0]"),
        ("[-0.0, -0.5, -0e1]", None),
        ("[0, 1e-0, 1E-0]", None),
        ("[-0, 1e-0]", "[-0.0, 1.0]"),
        ("[0]", None),
        ('["-0]", 1]', "['-0]', 1]"),
        ('["a\\"-0,", -0]', "['a\"-0,', -0.0]"),
    ],
)
def test_negative_zeros_keep_their_sign_outside_of_strings(values: str, signed: str | None) -> None:
    found = document(f'{{"graph": {{"tensors": {{"x": {values}}}}}}}').signed_values
    assert (None if found is None else str(found["tensors"]["x"])) == signed


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (("backward", "s"), "#/backward/1"),
        (("backward", 1), "#/backward/1"),
        (("wrt", "x"), "#/wrt"),
        (("outputs", "x"), "#/outputs"),
        (("graph", "tensors", "x", "requires_grad"), "#/graph/tensors/x"),
        (("graph", "tensors", "y", "requires_grad"), "#/graph/tensors/y/requires_grad"),
        (("graph", "ops", 0, "inputs", 1), "#/graph/ops/0/inputs/1"),
        (("graph", "ops", 0, "inputs", 9), "#/graph/ops/0/inputs/9"),
    ],
)
def test_locate_leads_to_what_was_written(path: Any, place: str) -> None:
    graph = '{"tensors": {"x": 1, "y": {"data": 1}}, "ops": [{"inputs": [1, 0]}]}'
    found = document(f'{{"graph": {graph}, "backward": ["t", "s"], "wrt": "x"}}')
    assert pointer(found.locate(path)) == place


def test_a_body_that_cannot_be_read_says_where() -> None:
    with pytest.raises(BadBody, match="line 2, column 7"):
        document('{"a": 1,\n "b": x}')


@pytest.mark.parametrize("item", ["[]", "{}", '[{"a":[]}]'])
def test_lists_without_number_are_refused_before_they_are_made(item: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_body, "MAX_CONTAINERS", 300)
    document(f"[{','.join([item] * 75)}]")
    with pytest.raises(BodyTooLarge) as refused:
        document(f"[{','.join([item] * 301)}]")
    assert "shape" in refused.value.faults[0].hint
