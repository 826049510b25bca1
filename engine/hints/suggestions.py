"""Known names that are similar to an unknown name, for the hints of errors.

A faulty request may contain many unknown names and many known names. `Suggestions` therefore has a maximum number of
comparisons for a request. The tracer, `engine.program.names` and `app.schemas.faults` create one for each request.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from rapidfuzz.distance import OSA
from rapidfuzz.process import extract

MAX_COMPARISONS = 5_000
"""Maximum comparisons for a request, each of names of up to `_SHORT` characters. Together they take 3 ms at most."""

_SHORT = 45
"""Length of a name up to which it counts as one comparison. The time of one grows with the square of the length."""

MAX_COMPARED = 128
"""Maximum length of a compared name, in characters. It is also the maximum length of a tensor's name."""

SIMILAR = 0.5
"""Minimum similarity of a suggestion: 1 minus the distance of optimal string alignment by the longer name's length.

The distance counts letters inserted, deleted, replaced or exchanged with their neighbour.
"""


@dataclass(slots=True)
class Suggestions:
    """The suggestions for one request. `comparisons` is the remaining number; at 0 there are no suggestions."""

    comparisons: int = MAX_COMPARISONS

    def did_you_mean(self, name: str, known: Iterable[str], similarity: float = SIMILAR) -> str:
        """Return `Did you mean 'x'?` with the three known names most similar to `name`, or an empty string.

        Known names beyond the remaining number of comparisons are not compared.
        """
        if len(name) > MAX_COMPARED or self.comparisons <= 0:
            return ""
        each = 1 + len(name) ** 2 // _SHORT**2
        candidates = list(islice(known, max(self.comparisons // each, 1)))
        self.comparisons -= len(candidates) * each
        near = extract(name, candidates, scorer=OSA.normalized_similarity, score_cutoff=similarity, limit=3)
        quoted = [f"{candidate!r}" for candidate, _, _ in near]
        return f"Did you mean {' or '.join(quoted)}?" if quoted else ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the suggestions for the only unknown name of a request, or an empty string."""
    return Suggestions().did_you_mean(name, known)
