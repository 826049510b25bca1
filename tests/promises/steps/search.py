"""A hill climb: the candidates with the longest steps are grown again and again."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from math import inf
from typing import NamedTuple

from tests.promises.steps.growth import grown
from tests.promises.steps.probe import Probe, Step
from tests.promises.steps.seeds import Candidate

KEPT = 40
"""Candidates that are grown."""

ALIKE = 4
"""Candidates of one label among them."""

SUSPECT_S = 0.02
"""Seconds of a step that is measured again: the least of three measurements counts."""


class Ranked(NamedTuple):
    step: Step
    candidate: Candidate


class Search:
    """The search for the longest step that requests to one endpoint cause."""

    def __init__(self, probe: Probe, draw: random.Random) -> None:
        self._probe, self.draw = probe, draw
        self.best: list[Ranked] = []
        self.tried = 0
        self.failed: list[Candidate] = []

    def run(self, seeds: Iterable[Candidate], seconds: float, most: float = inf) -> None:
        """Try the seeds for half of the time at most, then what grows of the best; `most` requests at most."""
        listed = list(seeds)
        self.draw.shuffle(listed)
        began = time.monotonic()
        for candidate in listed:
            self.tries(candidate)
            larger = grown(candidate, self.draw)
            if larger is not None:
                self.tries(larger)
            if time.monotonic() - began > seconds / 2 or self.tried > most / 2:
                break
        while time.monotonic() - began < seconds and self.tried < most and self.best:
            chosen = self.best[min(int(self.draw.expovariate(0.15)), len(self.best) - 1)].candidate
            if self.draw.random() < 0.2:
                chosen = self.draw.choice(listed)
            larger = grown(chosen, self.draw)
            if larger is not None:
                self.tries(larger)

    def tries(self, candidate: Candidate) -> None:
        """Measure a candidate, and keep it if it is among the best."""
        sent = candidate.sent()
        if sent is None:
            return
        self.tried += 1
        step = self._probe.longest(sent)
        if step.status in {0, 500}:
            self.failed.append(candidate)
        if step.seconds > SUSPECT_S:
            step = min(step, *(self._probe.longest(sent) for _ in range(2)))
        self.best.append(Ranked(step, candidate))
        self.best.sort(key=lambda ranked: -ranked.step.seconds)
        kept: list[Ranked] = []
        counts: dict[str, int] = {}
        for ranked in self.best:
            label = ranked.candidate.label
            counts[label] = counts.get(label, 0) + 1
            if counts[label] <= ALIKE and len(kept) < KEPT:
                kept.append(ranked)
        self.best = kept
