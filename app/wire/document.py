"""A request, taken apart: its structure on one side, its tensors' values on the other, in whichever format it came.

The codecs, `app.wire.json.body` and `app.wire.msgpack.body`, make documents; `app.evaluation.evaluator` and
`app.wire.values` use them.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

import orjson

from app.errors import BadBody, BodyTooLarge
from app.schemas.faults import short
from app.schemas.tensor import SHORTHAND
from engine import Fault, Path

Values = dict[str, dict[str, Any]]
Sections = Mapping[str, Path]


class Document:
    """A request, taken apart.

    `sections` names the objects that hold tensors and the paths at which they stand. `values` has what they hold, by
    section and name: what the codec makes of a tensor's data. `skeleton` is everything else, with None for a tensor's
    `data`. `options` are the members (named by `volatile`) that change nothing about what is computed. `key` identifies
    the skeleton. Raises BadBody where the skeleton nests too deeply to be kept.
    """

    lacks_signs = False
    """Whether zeros in `values` may lack their signs, as far as a glance at the request tells."""

    def __init__(self, tree: Any, sections: Sections, volatile: frozenset[str] = frozenset()) -> None:
        self.sections = sections
        self.skeleton = tree
        self.values = detach(tree, sections)
        self._check(tree)
        self.options: dict[str, Any] = {}
        if type(tree) is dict:
            self.options = {name: tree.pop(name) for name in volatile if name in tree}
        self.key = _dump(tree)

    def _check(self, skeleton: Any) -> None:
        """Refuse what the format can say and a structure cannot."""

    @property
    def signed_values(self) -> Values | None:
        """The values with the sign of zeros that `values` lacks, or None where it lacks none."""
        return None

    @property
    def ops(self) -> int:
        """How many ops the graph has, as far as it is one."""
        graph = self.skeleton.get("graph") if type(self.skeleton) is dict else None
        ops = graph.get("ops") if type(graph) is dict else None
        return len(ops) if type(ops) is list else 0

    def whole(self) -> Document:
        """Return the request with all values as Python objects, for what explains faults. Raises what reading does."""
        return self

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


def detach(tree: Any, sections: Sections) -> Values:
    """Take the tensors' values out of the tree and return them by section and name."""
    values: Values = {section: {} for section in sections}
    if type(tree) is not dict:
        return values
    for section, path in sections.items():
        if path[0] in tree:
            holder: Any = tree
            for token in path:
                holder = holder.get(token) if type(holder) is dict else None
            if type(holder) is dict:
                values[section] = _detach_values(holder)
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


def _dump(skeleton: Any) -> bytes:
    try:
        return orjson.dumps(skeleton)
    except orjson.JSONEncodeError:
        raise too_deep() from None


MAX_CONTAINERS = 2_000_000
"""Lists and objects that are made of one body: half a gigabyte. 128 MiB could ask for 130 million, 30 times as much."""


def too_many_containers() -> BodyTooLarge:
    """Return the problem of a body that has more lists and objects than are made of one."""
    hint = "Send `data` as one flat list with `shape`, as base64, or as raw bytes in MessagePack."
    return BodyTooLarge(f"The body has more than {MAX_CONTAINERS} lists and objects.", hint=hint)


def too_deep() -> BadBody:
    """Return the problem of a body that nests too deeply."""
    hint = "Nest at most 250 levels, at most 64 in a tensor."
    return BadBody(Fault((), "nested_too_deep", "the body nests lists or objects too deeply", hint))


class Repeated(dict[str, Any]):
    """An object in which `key` stood twice."""

    def __init__(self, pairs: Sequence[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.key = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)


def object_of(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object that has these members; what a format's reader calls for each."""
    members = dict(pairs)
    return members if len(members) == len(pairs) else Repeated(pairs)


def refuse_repeated(tree: Any) -> None:
    """Raise BadBody where an object of the tree had a key twice, with the path of the first such key."""
    for path, repeated in find(tree, _is_repeated):
        detail = f"the key {short(repeated.key)} stands twice in one object"
        raise BadBody(Fault((*path, repeated.key), "duplicate_key", detail, "Keep one of them."))


def _is_repeated(value: Any) -> bool:
    return isinstance(value, Repeated)


def find(tree: Any, wanted: Callable[[Any], bool]) -> Iterator[tuple[Path, Any]]:
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
