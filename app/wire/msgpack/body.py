"""A request's MessagePack, read strictly: the members of JSON, and a tensor's `data` as raw little-endian bytes.

Every key is a string and once in its object, strings in UTF-8, no extension types, nothing
after the end. Raw bytes and numbers that are not finite stand among tensors' values alone, so what is said of a
request's structure is what JSON can say.
"""

from __future__ import annotations

import math
import re
from itertools import islice
from typing import Any, NoReturn

import msgpack

from app.errors import BadBody, InvalidRequest
from app.schemas.faults import MAX_FAULTS
from app.wire.document import (
    MAX_CONTAINERS,
    Document,
    Sections,
    find,
    object_of,
    refuse_repeated,
    too_deep,
    too_many_containers,
)
from engine import Fault, Path

_HINT = "Send one MessagePack object: strings in UTF-8, keys that are strings, no extension types, nothing after it."


def read(body: bytes | memoryview, sections: Sections, volatile: frozenset[str] = frozenset()) -> Document:
    """Return the request that the body holds.

    Raises BadBody where it is not strict MessagePack, InvalidRequest where something stands outside of tensors' values
    that may stand only there.
    """
    try:
        _refuse_incomplete(body)
        tree = _unpack(body)
    except msgpack.StackError:
        raise too_deep() from None
    except (ValueError, msgpack.UnpackException) as error:
        _refuse(_REASONS.get(type(error), str(error)))
    return MsgpackDocument(tree, sections, volatile)


def _refuse_incomplete(body: bytes | memoryview) -> None:
    """Refuse lists and objects that claim more items than there are, before room is made for them.

    1,000 nested lists, each of which claims as many items as the body has bytes, would keep a processor for minutes.
    """
    unpacker = msgpack.Unpacker(max_buffer_size=max(len(body), 1))
    unpacker.feed(body)
    unpacker.skip()


_REASONS: dict[type, str] = {
    msgpack.OutOfData: "it is empty or cut off",
    msgpack.FormatError: "a byte begins nothing",
    msgpack.ExtraData: "something follows its end",
}


def _unpack(body: bytes | memoryview) -> Any:
    repeated = False
    containers = 0

    def items(found: list[Any]) -> list[Any]:
        nonlocal containers
        containers += 1
        if containers > MAX_CONTAINERS:
            raise too_many_containers()
        return found

    def members(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
        nonlocal repeated
        items(pairs)
        if not all(type(key) is str for key, _ in pairs):
            _refuse("a key is raw bytes")
        found = object_of(pairs)
        repeated = repeated or type(found) is not dict
        return found

    tree = msgpack.unpackb(body, object_pairs_hook=members, list_hook=items)
    if repeated:
        refuse_repeated(tree)
    return tree


def _refuse(reason: str) -> NoReturn:
    raise BadBody(Fault((), "malformed_msgpack", f"the body is not MessagePack as it is read here: {reason}", _HINT))


class MsgpackDocument(Document):
    """A request that came as MessagePack. Raises InvalidRequest where its structure is not what JSON can say."""

    def _check(self, skeleton: Any) -> None:
        packed = msgpack.packb(skeleton)
        if _SUSPECT.search(packed):
            faults = [_misplaced(path, value) for path, value in islice(find(skeleton, _is_misplaced), MAX_FAULTS)]
            if faults:
                raise InvalidRequest(faults)


_SUSPECT = re.compile(rb"[\xc4-\xc9\xd4-\xd8]|\xcb[\x7f\xff][\xf0-\xff]")
"""How raw bytes, extension types and numbers that are not finite begin. Inside of strings it may stand too."""


def _is_misplaced(value: Any) -> bool:
    return type(value) in _ELSEWHERE or (type(value) is float and not math.isfinite(value))


_ELSEWHERE: dict[type, tuple[str, str]] = {
    bytes: ("raw bytes stand here", "Only a tensor's `data` are raw bytes; send text as a string."),
    msgpack.ExtType: ("an extension type stands here", "Send numbers, strings, lists and objects."),
    msgpack.Timestamp: ("a timestamp stands here", "Send numbers, strings, lists and objects."),
}
_NOT_FINITE = (
    "a number that is not finite stands here",
    'Outside of a tensor\'s values it is written as in JSON: {"number": "NaN"}, {"number": "-Infinity"}.',
)


def _misplaced(path: Path, value: Any) -> Fault:
    detail, hint = _ELSEWHERE.get(type(value), _NOT_FINITE)
    return Fault(path, "wrong_type", detail, hint)
