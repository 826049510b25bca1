"""MessagePack is read as strictly as JSON, and says where it is wrong."""

from typing import Any

import msgpack
import numpy as np
import pytest

from app.errors import BadBody, BodyTooLarge, InvalidRequest, pointer
from app.wire.document import Document
from app.wire.json import body as json_body
from app.wire.msgpack import body as msgpack_body
from engine.errors import Fault

SECTIONS = {"tensors": ("graph", "tensors"), "backward": ("backward",)}


def read(body: bytes) -> Document:
    return msgpack_body.read(body, SECTIONS, frozenset({"seed"}))


def fault_of(body: bytes) -> Fault:
    with pytest.raises((BadBody, InvalidRequest)) as refused:
        read(body)
    assert refused.value.faults[0].hint
    return refused.value.faults[0]


def test_values_and_options_are_taken_out() -> None:
    raw = np.arange(2.0).tobytes()
    found = read(
        msgpack.packb(
            {"graph": {"tensors": {"a": [1], "b": {"data": raw, "shape": [2]}}}, "backward": {"l": None}, "seed": 3}
        )
    )
    assert found.values == {"tensors": {"a": [1], "b": raw}, "backward": {}}
    assert found.skeleton == {
        "graph": {"tensors": {"a": 0, "b": {"data": None, "shape": [2]}}},
        "backward": {"l": None},
    }
    assert found.options == {"seed": 3}


def test_a_structure_is_the_same_in_json() -> None:
    text = b'{"graph": {"tensors": {"a": {"data": 1}}, "ops": [{"op": "add", "inputs": ["a", 0.5]}]}}'
    packed = {"graph": {"tensors": {"a": {"data": b"12345678"}}, "ops": [{"op": "add", "inputs": ["a", 0.5]}]}}
    assert read(msgpack.packb(packed)).key == json_body.read(text, SECTIONS).key


def key(packed: bytes) -> bytes:
    """An object whose one key is what is given, with the value 1."""
    return b"\x81" + packed + b"\x01"


MALFORMED = {
    "empty": (b"", "malformed_msgpack", "#"),
    "cut off": (b"\x81\xa5grap", "malformed_msgpack", "#"),
    "an object that lacks its value": (b"\x81\xa1a", "malformed_msgpack", "#"),
    "raw bytes that end early": (b"\x81\xa1a\xc6\x00\x10\x00\x00abc", "malformed_msgpack", "#"),
    "a list that claims four billion items": (b"\xdd\xff\xff\xff\xff", "malformed_msgpack", "#"),
    "lists that claim more than there is, one in another": (b"\xdd\x00\x0f\xff\xff" * 900, "malformed_msgpack", "#"),
    "an object that claims four billion members": (b"\xdf\xff\xff\xff\xff", "malformed_msgpack", "#"),
    "a byte that begins nothing": (b"\xc1", "malformed_msgpack", "#"),
    "something after the end": (b"\x80\x80", "malformed_msgpack", "#"),
    "JSON": (b'{"graph": {}}', "malformed_msgpack", "#"),
    "text that is not UTF-8": (key(b"\xa1\xff"), "malformed_msgpack", "#"),
    "an encoded surrogate": (key(b"\xa3\xed\xa0\x80"), "malformed_msgpack", "#"),
    "a number as a key": (key(b"\x01"), "malformed_msgpack", "#"),
    "null as a key": (key(b"\xc0"), "malformed_msgpack", "#"),
    "a list as a key": (key(b"\x90"), "malformed_msgpack", "#"),
    "an object as a key": (key(b"\x80"), "malformed_msgpack", "#"),
    "raw bytes as a key": (key(b"\xc4\x01a"), "malformed_msgpack", "#"),
    "an extension type as a key": (key(b"\xd4\x05\x00"), "malformed_msgpack", "#"),
    "a timestamp as a key": (key(b"\xd6\xff\x00\x00\x00\x01"), "malformed_msgpack", "#"),
    "nested too deep to read": (b"\x91" * 2000 + b"\xc0", "nested_too_deep", "#"),
    "nested too deep to keep": (b"\x91" * 300 + b"\xc0", "nested_too_deep", "#"),
    "objects nested too deep": (b"\x81\xa1a" * 600 + b"\xc0", "nested_too_deep", "#"),
    "a key twice": (b"\x82\xa1a\x01\xa1a\x02", "duplicate_key", "#/a"),
    "a key twice, deep down": (b"\x81\xa1a\x92\x01\x82\xa1b\x01\xa1b\x02", "duplicate_key", "#/a/1/b"),
    "a key twice in a tensor's values": (
        b"\x81\xa5graph\x81\xa7tensors\x81\xa1x\x91\x82\xa1a\x01\xa1a\x02",
        "duplicate_key",
        "#/graph/tensors/x/0/a",
    ),
}


@pytest.mark.parametrize(("body", "code", "place"), MALFORMED.values(), ids=MALFORMED)
def test_what_is_malformed_is_refused(body: bytes, code: str, place: str) -> None:
    fault = fault_of(body)
    assert (fault.code, pointer(fault.path)) == (code, place)


ELSEWHERE = {
    "raw bytes": b"graph",
    "an extension type": msgpack.ExtType(5, b"1"),
    "a timestamp": msgpack.Timestamp(1),
    "NaN": float("nan"),
    "Infinity": float("inf"),
    "-Infinity": float("-inf"),
}


@pytest.mark.parametrize("value", ELSEWHERE.values(), ids=ELSEWHERE)
def test_what_json_cannot_say_is_refused_outside_of_values(value: Any) -> None:
    fault = fault_of(msgpack.packb({"graph": {"ops": [{"inputs": ["ÄÖ×", {"number": value}]}]}}))
    assert (fault.code, pointer(fault.path)) == ("wrong_type", "#/graph/ops/0/inputs/1/number")
    assert pointer(fault_of(msgpack.packb({"seed": value})).path) == "#/seed"
    assert pointer(fault_of(msgpack.packb(value)).path) == "#"
    assert read(msgpack.packb({"graph": {"tensors": {"x": [value]}}})).key


def test_all_such_faults_are_told() -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(msgpack.packb({"wrt": [b"x", "y", float("nan")]}))
    assert [pointer(fault.path) for fault in refused.value.faults] == ["#/wrt/0", "#/wrt/2"]


def test_numbers_of_64_bits_are_exact() -> None:
    assert read(msgpack.packb({"seed": 2**64 - 1})).options == {"seed": 2**64 - 1}
    assert read(msgpack.packb({"a": -(2**63)})).skeleton == {"a": -(2**63)}


def test_lists_without_number_are_refused_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(msgpack_body, "MAX_CONTAINERS", 100)
    read(msgpack.packb([[]] * 99))
    for item in (b"\x90", b"\x80"):
        with pytest.raises(BodyTooLarge):
            read(b"\xdc\x00\x64" + item * 100)
