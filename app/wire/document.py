"""A decoded request body, split into its structure and the values of its tensors. Independent of the format.

The codecs `app.wire.json.body` and `app.wire.msgpack.body` create documents; `app.evaluation.evaluator` and
`app.wire.values` use them.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from itertools import chain
from typing import Any

import orjson

from app.errors import BadBody, BodyTooLarge
from app.schemas.faults import short
from app.schemas.tensor import SHORTHAND
from engine import Fault, Path

Values = dict[str, dict[str, Any]]
Sections = Mapping[str, Path]


class Document:
    """A request body, split into structure and values.

    sections: The path of each object that contains tensors, by section.
    skeleton: The structure: the request without values. A tensor's `data` is None in it.
    values: The decoded but unconverted data of each tensor, by section and name.
    options: The members with names in `volatile`, which do not affect the plan. They are removed from the skeleton.
    key: The skeleton as bytes, the key of caches.

    Raises BadBody if the skeleton is nested too deeply.
    """

    lacks_signs = False
    """Whether `values` may contain zeros without the sign of `-0`. False means that there are none."""

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
        """Raise an error for a structure that the format allows and `key` cannot have."""
        check_depth(skeleton)

    @property
    def signed_values(self) -> Values | None:
        """The values with the signs of all zeros, or None if no zero in `values` has lost its sign."""
        return None

    @property
    def ops(self) -> int:
        """The number of ops in the graph; 0 if the request has no valid list of ops."""
        graph = self.skeleton.get("graph") if type(self.skeleton) is dict else None
        ops = graph.get("ops") if type(graph) is dict else None
        return len(ops) if type(ops) is list else 0

    def whole(self) -> Document:
        """Return the request with all values as Python objects, to locate faults. Raises the exceptions of `read`."""
        return self

    def at(self, path: Path) -> Any:
        """Return the value in the skeleton at a path of names of objects' members. Raises KeyError."""
        return reduce(operator.getitem, path, self.skeleton)

    def locate(self, path: Path) -> Path:
        """Return the path in the client's request that corresponds to a path in the validated request.

        Validation converts a list of names to an object, and a single name to an object with one key. Here a key
        becomes the position in the list, or the path ends at the single name. A path to a missing member ends with its
        name.
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
    """Remove the tensors' values from the tree and return them by section and name. Placeholders replace them."""
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
    except orjson.JSONEncodeError:  # 255 levels
        raise too_deep() from None


MAX_DEPTH = 64
"""Maximum depth of lists and objects in a structure.

`orjson.dumps` writes 100 closing brackets in a row past the end of its buffer: 3.11.9 does so from about 108.
"""


def check_depth(tree: Any) -> None:
    """Check the depth of nested lists and objects. Raises BadBody."""
    level = [tree] if type(tree) is list or type(tree) is dict else []
    for _ in range(MAX_DEPTH):
        items = chain.from_iterable([item.values() if type(item) is dict else item for item in level])
        level = [item for item in items if type(item) is list or type(item) is dict]
        if not level:
            return
    raise too_deep()


MAX_CONTAINERS = 2_000_000
"""Maximum number of lists and objects in a body. They take half a gigabyte of memory.

Without a limit, a body of 128 MiB could contain 130 million lists, which take 30 times as much.
"""


def too_many_containers() -> BodyTooLarge:
    """Return the problem of a body with more than MAX_CONTAINERS lists and objects."""
    hint = "Send `data` as one flat list with `shape`, as base64, or as raw bytes in MessagePack."
    return BodyTooLarge(f"The body has more than {MAX_CONTAINERS} lists and objects.", hint=hint)


def too_deep() -> BadBody:
    """Return the problem of a body that is nested too deeply."""
    hint = f"Nest at most {MAX_DEPTH} levels."
    return BadBody(Fault((), "nested_too_deep", "the body nests lists or objects too deeply", hint))


class Repeated(dict[str, Any]):
    """An object with the duplicate key `key`."""

    def __init__(self, pairs: Sequence[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.key = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)


def object_of(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object with these members; a `Repeated` if a key is duplicate. Decoders call it for each object."""
    members = dict(pairs)
    return members if len(members) == len(pairs) else Repeated(pairs)


def refuse_repeated(tree: Any) -> None:
    """Raise BadBody with the path of the first duplicate key in the tree, if there is one."""
    for path, repeated in find(tree, _is_repeated):
        detail = f"the key {short(repeated.key)} stands twice in one object"
        raise BadBody(Fault((*path, repeated.key), "duplicate_key", detail, "Keep one of them."))


def _is_repeated(value: Any) -> bool:
    return isinstance(value, Repeated)


def find(tree: Any, wanted: Callable[[Any], bool]) -> Iterator[tuple[Path, Any]]:
    """Yield the values in the tree for which `wanted` is true, each with its path, depth first.

    Memory grows with the depth of the tree and not with its size.
    """
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
