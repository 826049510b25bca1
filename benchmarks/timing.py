"""Time contestants against one another: by turns, many rounds, in one process.

A contestant's turn is as many calls as fill a slot, and its sample their mean. Turns begin with another contestant each
round. Before the first round every contestant has run until its slot was full twice, which warms caches and compilers.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.workload import Run

Difference = str


def compare(runs: Mapping[str, Run], rtol: float) -> list[Difference]:
    """Return where contestants' results differ from the first one's: shapes, dtypes, or elements by more than `rtol`
    of the largest.
    """
    reference, *others = runs
    expected = list(map(np.asarray, runs[reference]()))
    return [
        f"{other}'s result {place} is not {reference}'s"
        for other in others
        for place, (one, two) in enumerate(zip(expected, map(np.asarray, runs[other]()), strict=True))
        if not _same(one, two, rtol)
    ]


def _same(one: Any, other: Any, rtol: float) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype or not np.isfinite(one).all():
        return False
    return bool(np.abs(one - other).max(initial=0) <= rtol * max(np.abs(one).max(initial=0), 1e-30))


def interleaved(runs: Mapping[str, Callable[[], Any]], *, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Return the samples of each contestant, in seconds for one call; `seconds` is the length of a slot."""
    names = list(runs)
    counts = {name: _calls_in(runs[name], seconds) for name in names}
    samples: dict[str, list[float]] = {name: [] for name in names}
    gc.collect()
    gc.freeze()
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            samples[name].append(_mean(runs[name], counts[name]))
    gc.unfreeze()
    return samples


def _calls_in(run: Callable[[], Any], seconds: float) -> int:
    """Return how many calls fill a slot, found out by filling it twice."""
    count, taken = 1, 0.0
    while taken < seconds and count < 2**20:
        taken = count * _mean(run, count)
        if taken < seconds:
            count *= 2
    return max(1, round(seconds / _mean(run, count)))


def _mean(run: Callable[[], Any], count: int) -> float:
    begin = time.perf_counter()
    for _ in range(count):
        run()
    return (time.perf_counter() - begin) / count
