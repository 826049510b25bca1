"""Decodes request bodies in JSON with orjson, and checks what orjson does not check.

orjson accepts duplicate keys, converts integers over 64 bits to floats, reads `-0` as the integer 0, and gives no
location for a number that overflows. The checks here search the text. Only if a check fails, the text is decoded a
second time by the standard library, which is slower, to find the location of the fault.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from itertools import islice
from typing import Any

import orjson

from app.errors import BadBody, InvalidRequest
from app.schemas.faults import MAX_FAULTS
from app.wire.document import (
    MAX_CONTAINERS,
    Document,
    Sections,
    Values,
    detach,
    find,
    object_of,
    refuse_repeated,
    too_deep,
    too_many_containers,
)
from app.wire.json.long_values import Long, cut
from app.wire.json.numbers import NEGATIVE_ZERO, Text
from engine import Fault, Path

_STRING_OR_NEGATIVE_ZERO = re.compile(rb'"(?:[^"\\]|\\.)*"|(?<![eE])-0(?=[,\]}\s])')


_CLOSING, _SPACE = bytes.maketrans(b"}", b"]"), b" \t\r\n"
_MANY = b"]" * 32
"""Closing brackets that no usual request has in a row. Fewer are written safely, however deep they are."""


def read(text: Text, sections: Sections, volatile: frozenset[str] = frozenset()) -> Document:
    """Return the decoded request. Raises BadBody for invalid JSON, and InvalidRequest if numbers overflow."""
    shortened, long = cut(text)
    if long:
        with suppress(BadBody, InvalidRequest):
            document = JsonDocument(shortened, sections, volatile, text)
            if document.put_back(long):
                return document
    whole = bytes(text)
    return JsonDocument(whole, sections, volatile, whole)


def early_timeout(text: Text) -> Any:
    """Return the member `timeout_ms` of a request that is not decoded yet, or None if it is not found.

    It is found within `_NEAR` bytes of the beginning or the end of the text. There the other bytes up to the beginning
    or the end must be members of one object, which is then the outermost object.
    """
    key = b'"timeout_ms"'
    end = bytes(text[-_NEAR:])
    at = end.rfind(key)
    if at > 0 and end[at - 1 : at] != b"\\":
        members = _object(b"{" + end[at:])
        if members is not None:
            return members["timeout_ms"]
    beginning = bytes(text[:_NEAR])
    at = beginning.find(key)
    value = _TIMEOUT.match(beginning, at + len(key)) if at > 0 else None
    if value is None or _object(beginning[:at].rstrip().removesuffix(b",") + b"}") is None:
        return None
    return int(value[1])


_NEAR = 2**12

_TIMEOUT = re.compile(rb"\s*:\s*([0-9]{1,16})\s*[,}]")


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return found if type(found) is dict else None


class JsonDocument(Document):
    """A request in JSON. `whole` is the client's text, `text` the text with placeholders for long values."""

    def __init__(self, text: bytes, sections: Sections, volatile: frozenset[str], whole: Text) -> None:
        self._text, self._whole, self._volatile = text, whole, volatile
        super().__init__(_load(text), sections, volatile)
        self.lacks_signs = NEGATIVE_ZERO.search(text) is not None
        # A duplicate key has a colon in the text and none in the skeleton. Tensors' values contain no colons. An
        # escaped colon in a string changes the count, so such texts are decoded again.
        if text.count(b":") != self.key.count(b":") + len(self.options) or _has_escaped_colon(text):
            refuse_repeated(_read_again(text, object_pairs_hook=object_of, parse_int=_nothing, parse_float=_nothing))
        if b"e+" in self.key:
            _refuse_wide_integers(text, sections)

    def _check(self, skeleton: Any) -> None:
        """Check the depth if the text has many closing brackets in a row, perhaps in a tensor or in a string."""
        if _MANY in self._text.translate(_CLOSING, _SPACE):
            super()._check(skeleton)

    def put_back(self, long: Mapping[str, Long]) -> bool:
        """Replace the placeholders by the long values. Return False if one of them is not the value of a tensor."""
        found = 0
        for values in self.values.values():
            for name, value in values.items():
                if type(value) is str and value in long:
                    values[name] = long[value]
                    found += 1
        return found == len(long)

    def whole(self) -> Document:
        """Return the request with all values as Python objects, to locate faults. Raises the exceptions of `read`."""
        if self._text is self._whole:
            return self
        whole = bytes(self._whole)
        return JsonDocument(whole, self.sections, self._volatile, whole)

    @cached_property
    def signed_values(self) -> Values | None:
        """The values with the sign of every `-0`, or None if the text has no such number."""
        if not self.lacks_signs:
            return None
        rewritten = _STRING_OR_NEGATIVE_ZERO.sub(_as_float, self._text)
        return detach(_load(rewritten), self.sections)


def _as_float(match: re.Match[bytes]) -> bytes:
    return b"-0.0" if match[0] == b"-0" else match[0]


def _has_escaped_colon(text: bytes) -> bool:
    return b"\\" in text and (b"\\u003a" in text or b"\\u003A" in text)


def _nothing(_: str) -> None:
    return None


def _refuse_wide_integers(text: bytes, sections: Sections) -> None:
    """Raise InvalidRequest for integers over 64 bits outside of tensors. In the skeleton they are large floats."""
    exact = _read_again(text, parse_int=_Digits)
    detach(exact, sections)
    wide = [_wide(path, value) for path, value in find(exact, _is_wide)]
    if wide:
        raise InvalidRequest(wide[:MAX_FAULTS])


class _Digits:
    """The digits of an integer in the text."""

    def __init__(self, digits: str) -> None:
        self.digits = digits

    @property
    def is_wide(self) -> bool:
        """Whether the integer does not fit in 64 bits. More than 20 characters are not converted: it is quadratic."""
        return len(self.digits) > 20 or not -(2**63) <= int(self.digits) < 2**64


def _is_wide(value: Any) -> bool:
    return isinstance(value, _Digits) and value.is_wide


def _wide(path: Path, value: _Digits) -> Fault:
    detail = f"the integer {value.digits[:80]} does not fit in 64 bits"
    return Fault(path, "integer_too_wide", detail, "Write it with a decimal point or an exponent if a float is meant.")


def _load(text: bytes) -> Any:
    if len(text) > MAX_CONTAINERS and text.count(b"[") + text.count(b"{") > MAX_CONTAINERS:
        raise too_many_containers()
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _refusal(text, error) from None


def _refusal(text: bytes, error: orjson.JSONDecodeError) -> Exception:
    if "number is infinity" in error.msg:
        overflowing = _overflowing(text)
        if overflowing:
            return InvalidRequest(overflowing)
    if "depth" in error.msg:
        return too_deep()
    if not text.strip():
        return BadBody(Fault((), "malformed_json", "the body is empty", "Send a JSON object."))
    return BadBody(
        Fault(
            (),
            "malformed_json",
            f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}",
            'Send strict JSON in UTF-8. NaN and infinities are the strings "NaN", "Infinity" and "-Infinity".',
        )
    )


def _overflowing(text: bytes) -> list[Fault]:
    """Return a fault for each number beyond the range of float64."""
    tree = _read_again(text, parse_int=float, parse_constant=_nothing)
    found = islice(find(tree, lambda value: value in _INFINITE), MAX_FAULTS)
    hint = 'Infinity is written "Infinity".'
    return [Fault(path, "number_out_of_range", "the number is beyond the range of float64", hint) for path, _ in found]


_INFINITE = (float("inf"), float("-inf"))


def _read_again(text: bytes, **hooks: Any) -> Any:
    """Decode with the standard library. Return None for invalid JSON. Raises BadBody if it is nested too deeply."""
    try:
        return json.loads(text, **hooks)
    except RecursionError:
        raise too_deep() from None
    except ValueError:
        return None
