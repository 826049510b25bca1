"""The README's table: each peer with a figure in RESULTS.md, and the ratio of its speed to gradd's.

A full run of the benchmarks writes both pages. A test checks that the table agrees with RESULTS.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

HEAD = ("| Work | gradd | Faster than | Slower than |", "|---|---|---|---|")
_TABLE = re.compile(re.escape(HEAD[0]) + r"\n(?:\|.*\n)+")
_UNITS = {" µs": 1e-6, " ms": 1e-3, " s": 1.0}


def table(results: str, sections: Sequence[str]) -> str:
    """Return the table of all work in these sections of RESULTS.md that has a figure of a peer."""
    parts = [part for part in results.split("\n## ")[1:] if part.splitlines()[0] in sections]
    return "\n".join([*HEAD, *[line for part in parts for line in _lines(part)], ""])


def updated(readme: str, results: str, sections: Sequence[str]) -> str:
    """Return the README with its table updated from the results."""
    return _TABLE.sub(lambda _: table(results, sections), readme)


def _lines(part: str) -> Iterator[str]:
    """Yield a line for each row of the part's first table: the medians of gradd, then one column for each peer."""
    rows = [row.strip("| ").split(" | ") for row in part.splitlines() if row.startswith("|")]
    peers = rows[0][2:]
    for row in rows[2:]:
        if row[0] == "work":
            return
        work, own, *others = [cell.strip() for cell in row]
        measured = [(peer, _ratio(own, other)) for peer, other in zip(peers, others, strict=False) if other]
        if measured:
            faster = ", ".join(f"{peer}: {_times(ratio)}" for peer, ratio in measured if ratio >= 1)
            slower = ", ".join(f"{peer}: {_times(1 / ratio)}" for peer, ratio in measured if ratio < 1)
            yield f"| {work} | {own} | {faster} | {slower} |"


def _ratio(own: str, other: str) -> float:
    """Return the ratio of gradd's speed to a peer's, from two times or two rates."""
    if own.endswith("/s"):
        return _number(own.removesuffix("/s")) / _number(other.removesuffix("/s"))
    return _seconds(other) / _seconds(own)


def _seconds(text: str) -> float:
    unit = next(unit for unit in _UNITS if text.endswith(unit))
    return _number(text.removesuffix(unit)) * _UNITS[unit]


def _number(text: str) -> float:
    return float(text.replace(",", ""))


def _times(ratio: float) -> str:
    return f"{ratio:.2f} times" if ratio < 2 else f"{ratio:.1f} times" if ratio < 10 else f"{ratio:,.0f} times"
