"""Time contestants against one another: by turns, for many rounds.

A contestant's turn is as many calls as fill a slot, and its sample their mean. Turns begin with another contestant each
round. Before the first round every contestant has run until its slot was full twice, which warms caches and compilers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Seconds = Callable[[int], float]
"""Makes so many calls and returns the seconds that they took."""


def compare(results: Mapping[str, Sequence[Any]], rtol: float) -> list[str]:
    """Return where contestants' results differ from the first one's: shapes, dtypes, or elements by more than `rtol`
    of the largest.
    """
    reference, *others = results
    return [
        f"{other}'s result {place} is not {reference}'s"
        for other in others
        for place, (one, two) in enumerate(zip(results[reference], results[other], strict=True))
        if not _same(np.asarray(one), np.asarray(two), rtol)
    ]


def _same(one: Any, other: Any, rtol: float) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype or not np.isfinite(one).all():
        return False
    return bool(np.abs(one - other).max(initial=0) <= rtol * max(np.abs(one).max(initial=0), 1e-30))


def interleaved(contestants: Mapping[str, Seconds], *, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Return the samples of each contestant, in seconds for one call; `seconds` is the length of a slot."""
    names = list(contestants)
    calls = {name: _calls_in(contestants[name], seconds) for name in names}
    samples: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            samples[name].append(contestants[name](calls[name]) / calls[name])
    return samples


def _calls_in(made: Seconds, seconds: float) -> int:
    """Return how many calls fill a slot, found out by filling it twice."""
    calls = 1
    while made(calls) < seconds and calls < 2**20:
        calls *= 2
    return max(1, round(seconds * calls / max(made(calls), 1e-9)))
