"""A request's JSON, read strictly and taken apart: its structure on one side, its tensors' values on the other.

orjson reads the text. What it is lax about is checked here: a key that stands twice, an integer beyond 64 bits (it
would quietly become a float), `-0` (it would lose its sign), a number that overflows (it gives no place). Each check
costs the fast path a search in the text at most; finding the place is left to a second, slow reading.
"""

from __future__ import annotations

import json
import operator
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, reduce
from itertools import islice
from typing import Any

import orjson

from app.errors import BadBody, InvalidRequest
from app.schemas.readers import MAX_FAULTS, short
from app.schemas.tensor import SHORTHAND
from engine.errors import Fault, Path

Values = dict[str, dict[str, Any]]
Sections = Mapping[str, Path]

_NEGATIVE_ZERO = re.compile(rb"-0(?=[,\]}\s])")
_STRING_OR_NEGATIVE_ZERO = re.compile(rb'"(?:[^"\\]|\\.)*"|-0(?=[,\]}\s])')


class Document:
    """A request, taken apart.

    `sections` names the objects that hold tensors and the paths at which they stand. `values` has what they hold, by
    section and name: parsed JSON of any kind. `skeleton` is everything else, with None for a tensor's `data`.
    `options` are the members (named by `volatile`) that change nothing about what is computed. `key` identifies the
    skeleton. Raises BadBody where the text is not strict JSON, InvalidRequest where numbers overflow.
    """

    def __init__(self, text: bytes, sections: Sections, volatile: frozenset[str] = frozenset()) -> None:
        self._text, self._sections = text, sections
        self.skeleton = _load(text)
        self.values = _detach(self.skeleton, sections)
        self.options: dict[str, Any] = {}
        if type(self.skeleton) is dict:
            self.options = {name: self.skeleton.pop(name) for name in volatile & self.skeleton.keys()}
        self.key = _dump(self.skeleton)
        self._refuse_duplicates()
        self._refuse_wide_integers()

    def at(self, path: Path) -> Any:
        """Return what stands in the skeleton at a path that leads through objects."""
        return reduce(operator.getitem, path, self.skeleton)

    def locate(self, path: Path) -> Path:
        """Return the path in the request as it was written of what a path means.

        A name may stand in a list where the path has an object's key, and be the whole member where there is one
        only; what was left out is placed where it would be.
        """
        found: list[str | int] = []
        value: Any = self.skeleton
        for token in path:
            if type(token) is str and type(value) is list and token in value:
                token = value.index(token)  # noqa: PLW2901
            if type(value) not in {dict, list}:
                break
            found.append(token)
            try:
                value = value[token]
            except (KeyError, IndexError, TypeError):
                break
        return tuple(found)

    @cached_property
    def signed_values(self) -> Values | None:
        """The values with the sign of every `-0`, or None where the text has no such number."""
        if not _NEGATIVE_ZERO.search(self._text):
            return None
        rewritten = _STRING_OR_NEGATIVE_ZERO.sub(_as_float, self._text)
        return _detach(_load(rewritten), self._sections)

    def _refuse_duplicates(self) -> None:
        """Hold the colons of the text against those of the skeleton: a key that stood twice has one more in the text.

        A tensor's values have no colons. An escaped colon could hide one, so such texts are always read again.
        """
        expected = self.key.count(b":") + len(self.options)
        if self._text.count(b":") == expected and not _has_escaped_colon(self._text):
            return
        path = _duplicate(self._text)
        if path is not None:
            raise BadBody(
                Fault(
                    path, "duplicate_key", f"the key {short(path[-1])} stands twice in one object", "Keep one of them."
                )
            )

    def _refuse_wide_integers(self) -> None:
        """Refuse integers beyond 64 bits outside of tensors; they show in the skeleton as large floats."""
        if b"e+" not in self.key:
            return
        exact = _read_again(self._text, parse_int=_Digits)
        _detach(exact, self._sections)
        wide = [
            Fault(
                path,
                "integer_too_wide",
                f"the integer {value.digits[:80]} does not fit in 64 bits",
                "Write it with a decimal point or an exponent if a float is meant.",
            )
            for path, value in _find(exact, _is_wide)
        ]
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


def _load(text: bytes) -> Any:
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
        return BadBody(_TOO_DEEP)
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


_TOO_DEEP = Fault(
    (),
    "nested_too_deep",
    "the body nests lists or objects too deeply",
    "Nest at most 250 levels, at most 64 in a tensor.",
)


def _dump(skeleton: Any) -> bytes:
    try:
        return orjson.dumps(skeleton)
    except orjson.JSONEncodeError:
        raise BadBody(_TOO_DEEP) from None


def _detach(tree: Any, sections: Sections) -> Values:
    """Take the tensors' values out of the tree and return them by section and name."""
    values: Values = {}
    for section, path in sections.items():
        holder = tree
        for token in path:
            holder = holder.get(token) if type(holder) is dict else None
        values[section] = _detach_values(holder) if type(holder) is dict else {}
    return values


def _detach_values(holder: dict[str, Any]) -> dict[str, Any]:
    values = {}
    for name, member in holder.items():
        if type(member) is dict:
            if "data" in member:
                values[name] = member["data"]
                member["data"] = None
        elif member is not None:
            values[name] = member
            holder[name] = SHORTHAND
    return values


def _has_escaped_colon(text: bytes) -> bool:
    return b"\\u" in text and (b"\\u003a" in text or b"\\u003A" in text)


def _duplicate(text: bytes) -> Path | None:
    """Return the path of a key that stands twice in its object."""
    tree = _read_again(text, object_pairs_hook=_object, parse_int=_nothing, parse_float=_nothing)
    return next(((*path, repeated.key) for path, repeated in _find(tree, _is_repeated)), None)


class _Repeated(dict[str, Any]):
    """An object in which `key` stood twice."""

    key = ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    repeated = _Repeated(members)
    repeated.key = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
    return repeated


def _nothing(_: str) -> None:
    return None


def _overflowing(text: bytes) -> list[Fault]:
    """Return a fault for every number that no double can hold."""
    tree = _read_again(text, parse_int=float, parse_constant=_nothing)
    found = islice(_find(tree, lambda value: value in _INFINITE), MAX_FAULTS)
    hint = 'Infinity is written "Infinity".'
    return [Fault(path, "number_out_of_range", "the number is beyond the range of float64", hint) for path, _ in found]


_INFINITE = (float("inf"), float("-inf"))


def _read_again(text: bytes, **hooks: Any) -> Any:
    """Read with the standard library; None where it finds a fault. Raises BadBody where it nests too deeply."""
    try:
        return json.loads(text, **hooks)
    except RecursionError:
        raise BadBody(_TOO_DEEP) from None
    except ValueError:
        return None


def _is_repeated(value: Any) -> bool:
    return isinstance(value, _Repeated)


def _is_wide(value: Any) -> bool:
    return isinstance(value, _Digits) and value.is_wide


def _find(tree: Any, wanted: Callable[[Any], bool]) -> Iterator[tuple[Path, Any]]:
    """Yield the values in the tree that are wanted, each with its path. Keeps one iterator a level, no lists."""
    path: list[str | int] = []
    levels: list[Iterator[tuple[str | int, Any]]] = [iter([("", tree)])]
    while levels:
        for token, value in levels[-1]:
            if wanted(value):
                yield (*path[1:], token)[len(levels) == 1 :], value
            if isinstance(value, dict | list):
                path.append(token)
                levels.append(iter(value.items() if isinstance(value, dict) else enumerate(value)))
                break
        else:
            levels.pop()
            if path:
                path.pop()


def _as_float(match: re.Match[bytes]) -> bytes:
    return b"-0.0" if match[0] == b"-0" else match[0]
