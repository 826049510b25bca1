"""The deadline of a request is found before the rest is decoded, and never where it is not a member of the request."""

from typing import Any

import msgpack
import orjson
import pytest

from app.wire.json import body as json_body
from app.wire.msgpack import body as msgpack_body

LONG = [[1]] * 5000


@pytest.mark.parametrize(
    "text",
    [
        b'{"graph":%b,"timeout_ms":50}',
        b'{"graph":%b,"timeout_ms" : 50 , "dag": false, "seed": 1}\n',
        b'{"timeout_ms":50,"graph":%b}',
        b'{ "dag": true, "timeout_ms" : 50, "graph":%b}',
        b'{"graph":%b,"wrt":["timeout_ms"],"timeout_ms":50}',
    ],
)
def test_it_is_found_near_both_ends(text: bytes) -> None:
    assert json_body.early_timeout(text % orjson.dumps(LONG)) == 50
    assert json_body.early_timeout(memoryview(text % orjson.dumps(LONG))) == 50


@pytest.mark.parametrize(
    "text",
    [
        b'{"graph":%b}',
        b'{"graph":{"tensors":{"x":%b,"timeout_ms":50}}}',
        b'{"graph":{"timeout_ms":50,"x":%b}}',
        b'{"graph":[%b],"a":"\\"timeout_ms\\":50"}',
        b'{"graph":%b,"a\\"timeout_ms":50}',
        b'{"graph":%b,"timeout_ms":50',
        b'{"graph":%b,"timeout_ms":50}}',
        b'[%b,{"timeout_ms":50}]',
        b"",
        b'"timeout_ms"',
    ],
)
def test_other_members_are_none(text: bytes) -> None:
    assert json_body.early_timeout(text % orjson.dumps(LONG) if b"%" in text else text) is None


@pytest.mark.parametrize("members", [{"graph": LONG, "timeout_ms": 50}, {"timeout_ms": 50, "graph": LONG}])
def test_messagepack_has_it_at_any_place(members: dict[str, Any]) -> None:
    assert msgpack_body.early_timeout(msgpack.packb(members)) == 50


@pytest.mark.parametrize(
    "body", [{"graph": {"timeout_ms": 50}}, {"a": "timeout_ms"}, ["timeout_ms", 50], "timeout_ms", {}]
)
def test_messagepack_has_it_among_the_members_alone(body: Any) -> None:
    assert msgpack_body.early_timeout(msgpack.packb(body)) is None
    assert msgpack_body.early_timeout(msgpack.packb(body)[:-1] + b"\xc1") is None
