"""Limits on the size of a graph. The service sets them; the builder and the planner check them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a program. They are checked on types, before memory is allocated.

    `rank` limits the dimensions of a tensor, `elements` the elements of one tensor, `nodes` the primitive operations of
    the whole graph (with its derivatives), `bytes` the peak memory of a run.
    """

    rank: int = 32
    elements: int = 2**28
    nodes: int = 2_000_000
    bytes: int = 4 * 2**30
