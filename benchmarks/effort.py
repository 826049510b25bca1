"""How long to measure: as long as the figures need, or only until it is known that everything runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """Rounds, and the seconds of a contestant's turn: whole ones for wrk."""

    rounds: int
    seconds: float
    wrk_seconds: int


FULL = Effort(rounds=11, seconds=0.2, wrk_seconds=1)
QUICK = Effort(rounds=3, seconds=0.02, wrk_seconds=1)
