"""Known names that resemble an unknown one, for the hints of errors.

A request that is refused may have many unknown names and many known ones, so the comparisons of one request are
counted: `Suggestions` makes no more than its budget. The tracer, the lookup of names and the readers of `app` hold one
for each request.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from rapidfuzz.distance import OSA
from rapidfuzz.process import extract

MAX_COMPARISONS = 5_000
"""Comparisons of one request. Together they take 0.3 ms for names of 8 characters, 20 ms for 128 characters."""

MAX_COMPARED = 128
"""Characters of the longest name that is compared. Names of tensors have no more."""

SIMILAR = 0.5
"""The least similarity of a suggestion: 1 minus the distance of optimal string alignment by the longer name's length.

The distance counts letters inserted, deleted, replaced or exchanged with their neighbour.
"""


@dataclass(slots=True)
class Suggestions:
    """The suggestions of one request. `comparisons` are left; with none left, there are no suggestions."""

    comparisons: int = MAX_COMPARISONS

    def did_you_mean(self, name: str, known: Iterable[str], similarity: float = SIMILAR) -> str:
        """Return `Did you mean 'x'?` with the three known names most similar to `name`, or an empty string.

        Known names beyond the budget are not compared.
        """
        if len(name) > MAX_COMPARED or self.comparisons <= 0:
            return ""
        candidates = list(islice(known, self.comparisons))
        self.comparisons -= len(candidates)
        near = extract(name, candidates, scorer=OSA.normalized_similarity, score_cutoff=similarity, limit=3)
        quoted = [f"{candidate!r}" for candidate, _, _ in near]
        return f"Did you mean {' or '.join(quoted)}?" if quoted else ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the suggestions for a single name, where no other is looked up."""
    return Suggestions().did_you_mean(name, known)
