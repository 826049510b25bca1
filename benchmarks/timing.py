"""Timing of contestants in alternating turns, for many rounds.

In a turn a contestant makes as many calls as fill a slot; its sample is their mean. Each round starts with a different
contestant. Before the first round every contestant fills its slot twice, which warms caches and compilers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Seconds = Callable[[int], float]
"""Makes a number of calls and returns their total seconds."""


def compare(results: Mapping[str, Sequence[Any]], rtol: float) -> list[str]:
    """Return the differences from the first contestant's results: shapes, dtypes, or elements by more than `rtol` of
    the largest element.
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
    """Return the samples of each contestant, in seconds per call. `seconds` is the length of a slot."""
    names = list(contestants)
    calls = {name: _calls_in(contestants[name], seconds) for name in names}
    samples: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            samples[name].append(contestants[name](calls[name]) / calls[name])
    return samples


def _calls_in(made: Seconds, seconds: float) -> int:
    """Return the number of calls that fill a slot, measured by filling the slot twice."""
    calls = 1
    while made(calls) < seconds and calls < 2**20:
        calls *= 2
    return max(1, round(seconds * calls / max(made(calls), 1e-9)))
