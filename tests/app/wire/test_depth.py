"""A structure that is nested deeply is refused before orjson writes it: it would write past the end of its buffer."""

from typing import Any

import msgpack
import pytest

from app.errors import BadBody
from app.schemas.requests import SECTIONS
from app.wire.document import MAX_DEPTH
from app.wire.json import body as json_body
from app.wire.msgpack import body as msgpack_body

OPENED = {"lists": (b"[", b"]"), "objects": (b'{"a":', b"}"), "both": (b'[{"a":', b"}]"), "spaces": (b"[", b" \n]")}


def nested(opened: bytes, closed: bytes, levels: int) -> bytes:
    """Return an object that contains so many levels, and numbers enough to come to the end of orjson's first buffer."""
    times = levels // len(opened.replace(b'"a":', b""))
    return b'{"a":[' + b"1," * 400 + b"1]," + b'"shape":' + opened * times + b"1.25" + closed * times + b"}"


@pytest.mark.parametrize("name", OPENED)
@pytest.mark.parametrize("levels", [MAX_DEPTH, 108, 150, 200, 250, 254, 400])
def test_json_that_is_nested_too_deeply_is_refused(name: str, levels: int) -> None:
    with pytest.raises(BadBody) as refused:
        json_body.read(nested(*OPENED[name], levels), SECTIONS)
    assert refused.value.faults[0].code == "nested_too_deep"


@pytest.mark.parametrize("name", OPENED)
def test_json_within_the_limit_is_read(name: str) -> None:
    document = json_body.read(nested(*OPENED[name], MAX_DEPTH - 2), SECTIONS)
    assert document.key.startswith(b'{"a":[1,1')


@pytest.mark.parametrize("levels", [1, 254, 255, 400])
def test_levels_that_do_not_end_in_a_row_are_read_or_refused(levels: int) -> None:
    text = b'{"a":' + b"[" * levels + b"1" + b",1]" * levels + b"}"
    if levels < 254:
        assert json_body.read(text, SECTIONS).key == text
    else:
        with pytest.raises(BadBody):
            json_body.read(text, SECTIONS)


@pytest.mark.parametrize("levels", [MAX_DEPTH - 1, MAX_DEPTH, 150, 300])
def test_msgpack_has_the_same_limit(levels: int) -> None:
    tree: Any = 1.25
    for _ in range(levels):
        tree = [tree]
    body = msgpack.packb({"a": tree})
    if levels < MAX_DEPTH:
        assert msgpack_body.read(body, SECTIONS).skeleton == {"a": tree}
    else:
        with pytest.raises(BadBody) as refused:
            msgpack_body.read(body, SECTIONS)
        assert refused.value.faults[0].code == "nested_too_deep"


def test_a_tensor_may_have_as_many_levels_as_dimensions() -> None:
    text = b'{"graph":{"tensors":{"x":' + b"[" * 64 + b"1" + b"]" * 64 + b"}}}"
    assert list(json_body.read(text, SECTIONS).values["tensors"]) == ["x"]
