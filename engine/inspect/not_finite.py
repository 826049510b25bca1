"""Warnings of results with NaN or infinity that are computed from finite inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def not_finite(groups: Mapping[str, Any], given: Iterable[Array]) -> tuple[str, ...]:
    """Return a warning that names the results with NaN or infinity. No warning if an input in `given` is not finite.

    `groups` contains the results as `Compiled.run` returns them: by group, by name, for blocks by a second name.
    """
    with np.errstate(all="ignore"):
        found = [place for place, array in _arrays(groups) if not is_finite(array)]
        if not found or not all(map(is_finite, given)):
            return ()
    listed = ", ".join(f"{group} of {' by '.join(map(repr, names))}" for group, *names in found[:_SHOWN])
    more = f" and {len(found) - _SHOWN} more" * (len(found) > _SHOWN)
    hint = "The option detect_anomaly names the first op whose values are not finite."
    return (f"Not finite, though all tensors that were given are: {listed}{more}. {hint}",)


_SHOWN = 10
"""Maximum number of results in a warning."""


def is_finite(array: Array) -> bool:
    """Return whether an array has neither NaN nor infinity.

    The sum of squares is finite only if all elements are. BLAS computes it in 0.16 ms for 1 M float64, where
    `np.isfinite` takes 0.37 ms; for ten elements the times are 0.4 and 1 us. `np.isfinite` decides if squares overflow.
    Call it within `np.errstate(all="ignore")`.
    """
    if array.dtype.kind != "f":
        return True
    if array.dtype.itemsize >= 4 and array.flags.forc:
        flat = array.ravel("K")
        if isfinite(flat.dot(flat)):
            return True
    return bool(np.isfinite(array).all())


def _arrays(groups: Mapping[str, Any]) -> list[tuple[tuple[str, ...], Array]]:
    """Return all arrays with the names that lead to each."""
    found: list[tuple[tuple[str, ...], Array]] = []
    waiting: list[tuple[tuple[str, ...], Any]] = [((), groups)]
    for path, group in waiting:
        for name, value in group.items():
            if isinstance(value, np.ndarray):
                found.append(((*path, name), value))
            elif isinstance(value, dict):
                waiting.append(((*path, name), value))
    return found
