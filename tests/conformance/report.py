"""The table of what agrees with PyTorch, as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tests.conformance.checks import COLUMNS
from tests.conformance.tally import COUNTERS, Tally

HEAD = """# Agreement with PyTorch

Each number is a count of samples: those that pass, and those that were tried where some do not. "Refused" are samples
that the server says it does not offer, "skipped" those that cannot be asked or compared.
"""

SECTIONS = (
    ("Refused", "refused"),
    ("Skipped", "skipped"),
    ("Columns that are not filled", "excepted"),
    ("How columns are filled", "remarks"),
)
"""What follows the table: the counters whose reasons are listed."""


def markdown(tallies: Iterable[Tally]) -> str:
    """Return the report: the table of ops, and the reasons for what is refused and skipped."""
    tallies = sorted(tallies, key=lambda tally: tally.op)
    rows = [("op", *COLUMNS, "refused", "skipped"), ("---",) + ("---:",) * (len(COLUMNS) + 2)]
    rows += [_row(tally) for tally in [*tallies, _sum(tallies)]]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([HEAD, table, *(_reasons(title, tallies, name) for title, name in SECTIONS)])


def _sum(tallies: list[Tally]) -> Tally:
    whole = Tally(f"**{len(tallies)} ops**")
    for tally in tallies:
        for name in COUNTERS:
            getattr(whole, name).update(getattr(tally, name))
    return whole


def _row(tally: Tally) -> tuple[str, ...]:
    cells = [_cell(tally.passed[column], tally.checked[column]) for column in COLUMNS]
    counts = [str(sum(counter.values()) or "") for counter in (tally.refused, tally.skipped)]
    return (tally.op, *cells, *counts)


def _cell(passed: int, checked: int) -> str:
    if not checked:
        return ""
    return str(passed) if passed == checked else f"**{passed} of {checked}**"


def _reasons(title: str, tallies: list[Tally], name: str) -> str:
    counts: Counter[str] = Counter()
    ops: dict[str, list[str]] = {}
    for tally in tallies:
        for reason, count in getattr(tally, name).items():
            counts[reason] += count
            ops.setdefault(reason, []).append(tally.op)
    lines = [f"- {reason}: {count} ({_some(ops[reason])})" for reason, count in counts.most_common()]
    return "\n".join([f"\n## {title}\n", *lines]) if lines else ""


def _some(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:5])} and {len(names) - 5} more"


def summary(tallies: Iterable[Tally]) -> str:
    """Return one line for a terminal."""
    tallies = list(tallies)
    whole = _sum(tallies)
    wrong = [tally.op for tally in tallies if tally.failures]
    counts = ", ".join(f"{column} {whole.passed[column]}/{whole.checked[column]}" for column in COLUMNS)
    return f"{len(tallies)} ops ({len(wrong)} with differences): {counts}; refused {sum(whole.refused.values())}"
