"""Duration of measurements: full, or only a short check that everything runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """The number of rounds, and the seconds of a contestant's turn. wrk needs whole seconds."""

    rounds: int
    seconds: float
    wrk_seconds: int


FULL = Effort(rounds=11, seconds=0.2, wrk_seconds=1)
QUICK = Effort(rounds=3, seconds=0.02, wrk_seconds=1)
