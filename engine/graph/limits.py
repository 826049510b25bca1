"""Limits on what a graph may cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may cost, held against its types before anything is allocated.

    `rank` bounds dimensions of a tensor, `elements` those of any one tensor, `nodes` the primitive operations of the
    whole graph (with its derivatives), `bytes` the peak memory of a run.
    """

    rank: int = 32
    elements: int = 2**28
    nodes: int = 2_000_000
    bytes: int = 4 * 2**30
