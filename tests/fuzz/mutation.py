"""Random changes of a request's members: most of the request stays valid, so that faults lie deep."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

Place = tuple[Any, Any]
"""A dict or list, and a key or index of it."""

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 2**31, -(2**31), 2**53, 2**63, -(2**63), 2**64, 10**30),
    *(0.5, -0.0, 1e308, 1e-320, "NaN", "Infinity", "-Infinity", {"number": "NaN"}),
    *("", "x", "x ", "w", "loss", "float32", "int64", "bool", "base64", "AAAA", "é", "\x00", "a" * 300),
    *([], [[]], [0], [1, 2], [[1, 2], [3]], [None], ["x"]),
    *({}, {"x": 0}, {"data": 1}, {"data": []}, {"data": [], "shape": [0]}, {"shape": [None, 2]}),
    *({"data": "", "dtype": "int8", "shape": [0, 3]}, {"data": "AAAA", "shape": [10**9]}),
)
"""Values at the edges of what members may have."""


def mutated(rng: random.Random, request: Any) -> Any:
    """Return a copy of a request with one to three changes."""
    changed = copy.deepcopy(request)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(changed))
        if places:
            rng.choice(CHANGES)(rng, *rng.choice(places), places)
    return changed


def _places(value: Any) -> Iterator[Place]:
    """Yield every place in a request."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(items):
        yield value, key
        yield from _places(item)


def _replace(rng: random.Random, holder: Any, key: Any, _: list[Place]) -> None:
    holder[key] = copy.deepcopy(rng.choice(VALUES))


def _remove(_rng: random.Random, holder: Any, key: Any, _: list[Place]) -> None:
    del holder[key]


def _repeat(rng: random.Random, holder: Any, key: Any, _: list[Place]) -> None:
    """Insert an item again, or give a member's value another name."""
    if isinstance(holder, list):
        holder[key:key] = [copy.deepcopy(holder[key])] * rng.choice((1, 2, 70))
    else:
        holder[f"{key}2"] = copy.deepcopy(holder[key])


def _copy(rng: random.Random, holder: Any, key: Any, places: list[Place]) -> None:
    """Write the value of another place here."""
    other, at = rng.choice(places)
    holder[key] = copy.deepcopy(other[at])


def _nest(rng: random.Random, holder: Any, key: Any, _: list[Place]) -> None:
    for _level in range(rng.choice((1, 1, 2, 40))):
        holder[key] = [holder[key]]


def _shift(rng: random.Random, holder: Any, key: Any, _: list[Place]) -> None:
    """Change a number or a name a little."""
    value = holder[key]
    if isinstance(value, bool):
        holder[key] = not value
    elif isinstance(value, int | float):
        holder[key] = value * rng.choice((-1, 2, 1000)) + rng.choice((-1, 0, 1, 0.5))
    elif isinstance(value, str) and value:
        at = rng.randrange(len(value))
        holder[key] = value[:at] + rng.choice(("", "_", "x", "É")) + value[at + 1 :]


CHANGES: tuple[Callable[[random.Random, Any, Any, list[Place]], None], ...] = (
    _replace,
    _replace,
    _remove,
    _repeat,
    _copy,
    _nest,
    _shift,
    _shift,
)
