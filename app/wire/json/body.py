"""A request's JSON, read strictly.

orjson reads the text. What it is lax about is checked here: a key that stands twice, an integer beyond 64 bits (it
would quietly become a float), `-0` (it would lose its sign), a number that overflows (it gives no place). Each check
costs the fast path a search in the text at most; finding the place is left to a second, slow reading.
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
from app.wire.json.numbers import NEGATIVE_ZERO, Text, may_have_negative_zero
from engine import Fault, Path

_STRING_OR_NEGATIVE_ZERO = re.compile(rb'"(?:[^"\\]|\\.)*"|(?<![eE])-0(?=[,\]}\s])')


def read(text: Text, sections: Sections, volatile: frozenset[str] = frozenset()) -> Document:
    """Return the request that the text writes down.

    Raises BadBody where it is not strict JSON, InvalidRequest where numbers overflow.
    """
    shortened, long = cut(text)
    if long:
        with suppress(BadBody, InvalidRequest):
            document = JsonDocument(shortened, sections, volatile, text)
            if document.put_back(long):
                return document
    whole = bytes(text)
    return JsonDocument(whole, sections, volatile, whole)


class JsonDocument(Document):
    """A request that came as JSON. `text` may have marks in place of long values, `whole` has none."""

    def __init__(self, text: bytes, sections: Sections, volatile: frozenset[str], whole: Text) -> None:
        super().__init__(_load(text), sections, volatile)
        self._text, self._whole, self._volatile = text, whole, volatile
        self.lacks_signs = b"-0" in text
        # A key that stood twice has one more colon in the text than in the skeleton; a tensor's values have none. An
        # escaped colon could hide one, so such texts are read again.
        if text.count(b":") != self.key.count(b":") + len(self.options) or _has_escaped_colon(text):
            refuse_repeated(_read_again(text, object_pairs_hook=object_of, parse_int=_nothing, parse_float=_nothing))
        if b"e+" in self.key:
            _refuse_wide_integers(text, sections)

    def put_back(self, long: Mapping[str, Long]) -> bool:
        """Put long values in place of their marks. Return whether all were values of tensors."""
        found = 0
        for values in self.values.values():
            for name, value in values.items():
                if type(value) is str and value in long:
                    values[name] = long[value]
                    found += 1
        return found == len(long)

    def whole(self) -> Document:
        """Return the request with all values as Python objects, for what explains faults. Raises what reading does."""
        if self._text is self._whole:
            return self
        whole = bytes(self._whole)
        return JsonDocument(whole, self.sections, self._volatile, whole)

    @cached_property
    def signed_values(self) -> Values | None:
        """The values with the sign of every `-0`, or None where the text has no such number."""
        if not may_have_negative_zero(self._text) or not NEGATIVE_ZERO.search(self._text):
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
    """Refuse integers beyond 64 bits outside of tensors; they show in the skeleton as large floats."""
    exact = _read_again(text, parse_int=_Digits)
    detach(exact, sections)
    wide = [_wide(path, value) for path, value in find(exact, _is_wide)]
    if wide:
        raise InvalidRequest(wide[:MAX_FAULTS])


class _Digits:
    """An integer as it was written."""

    def __init__(self, digits: str) -> None:
        self.digits = digits

    @property
    def is_wide(self) -> bool:
        """Whether 64 bits cannot hold it. 20 characters hold those that fit; converting long ones is quadratic."""
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
    if "depth limit" in error.msg:
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
    """Return a fault for every number that no double can hold."""
    tree = _read_again(text, parse_int=float, parse_constant=_nothing)
    found = islice(find(tree, lambda value: value in _INFINITE), MAX_FAULTS)
    hint = 'Infinity is written "Infinity".'
    return [Fault(path, "number_out_of_range", "the number is beyond the range of float64", hint) for path, _ in found]


_INFINITE = (float("inf"), float("-inf"))


def _read_again(text: bytes, **hooks: Any) -> Any:
    """Read with the standard library; None where it finds a fault. Raises BadBody where it nests too deeply."""
    try:
        return json.loads(text, **hooks)
    except RecursionError:
        raise too_deep() from None
    except ValueError:
        return None
