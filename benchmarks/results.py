"""Results of measurements: rows of figures, targets, and the Markdown page with both.

A row is one kind of work by several contestants, with one sample for each round. Sample n of every contestant is from
round n, taken within the same few seconds. Ratios are computed within a round, so noise that lasts longer than a round
cancels. The median of these ratios is compared with the target.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Quantity = Literal["time", "memory", "rate", "factor"]

TITLES = {
    "gradd": "gradd",
    "numpy": "NumPy by hand",
    "torch": "torch",
    "jax": "jax.jit",
    "autograd": "autograd",
    "unchecked": "gradd without checkpoints",
    "general": "gradd's general path",
    "identity": "gradd, no coding accepted",
    "route": "route that only reads",
    "echo": "route that echoes",
    "torch_server": "FastAPI + torch",
    "tesseract": "Tesseract Core",
    "predicted": "predicted",
}
"""Titles of the contestants on the page, in the order of its columns."""

TIMES = ((1, "s"), (1e-3, "ms"), (1e-6, "µs"))

NOISE = 2**20
"""A process's peak below this number of bytes is not judged: allocators differ by as much from run to run."""


@dataclass(frozen=True)
class Target:
    """A bound on the ratio of gradd's figure to that of the best of `peers`; without peers, on gradd's figure."""

    bound: float
    peers: tuple[str, ...] = ()
    at_least: bool = False


@dataclass(frozen=True)
class TargetVerdict:
    """The median and quartiles of a target's figure, and whether it is met; None if it is too small to judge."""

    target: Target
    median: float
    quartiles: tuple[float, float]
    met: bool | None

    @property
    def words(self) -> str:
        """The text in the table."""
        return {True: "yes", False: "**no**", None: "too little to tell"}[self.met]


@dataclass(frozen=True)
class Row:
    """One kind of work: samples in seconds, bytes, calls a second or factors, by contestant; or a `fault` instead.

    `note` explains a figure that misses its target.
    """

    name: str
    work: str
    quantity: Quantity
    samples: Mapping[str, Sequence[float]] = field(default_factory=dict)
    targets: tuple[Target, ...] = ()
    fault: str = ""
    note: str = ""

    def median(self, contestant: str) -> float:
        """Return the median of a contestant's samples."""
        return statistics.median(self.samples[contestant])

    def verdicts(self) -> list[TargetVerdict]:
        """Return the verdict of each target."""
        return [self._verdict(target) for target in self.targets if not self.fault]

    def _verdict(self, target: Target) -> TargetVerdict:
        own = self.samples["gradd"]
        if not target.peers:
            held = list(own)
        else:
            best = (max if self.quantity == "rate" else min)(target.peers, key=self.median)
            held = [one / max(other, 1e-12) for one, other in zip(own, self.samples[best], strict=True)]
            if self.quantity == "memory" and max(self.median("gradd"), self.median(best)) < NOISE:
                return TargetVerdict(target, statistics.median(held), _quartiles(held), None)
        middle = statistics.median(held)
        return TargetVerdict(
            target, middle, _quartiles(held), middle >= target.bound if target.at_least else middle <= target.bound
        )


def _quartiles(samples: Sequence[float]) -> tuple[float, float]:
    if len(samples) < 2:
        return samples[0], samples[0]
    low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
    return low, high


def quantity(value: float, of: Quantity) -> str:
    """Return a figure with its unit, to three digits."""
    if of == "memory":
        return "under 1 MiB" if value < NOISE else f"{_digits(value / 2**20)} MiB"
    if of == "rate":
        return f"{value:,.0f}/s"
    if of == "factor":
        return f"{_ratio(value)} times"
    size, unit = next((known for known in TIMES if value >= known[0]), TIMES[-1])
    return f"{_digits(value / size)} {unit}"


def _digits(value: float) -> str:
    """Return a number to three digits, without an exponent."""
    return f"{value:,.{max(0, 2 - len(str(int(abs(value)))) + 1)}f}"


def figures(rows: Sequence[Row]) -> list[str]:
    """Return the table of figures: one row for each kind of work, one column for each contestant."""
    present = {name for row in rows for name in row.samples}
    columns = [name for name in TITLES if name in present]
    lines = [_line("work", *[TITLES[name] for name in columns]), _line(*["---"] * (len(columns) + 1))]
    for row in rows:
        cells = [quantity(row.median(name), row.quantity) if name in row.samples else "" for name in columns]
        lines.append(_line(row.work, *cells))
    return lines


def verdicts(rows: Iterable[Row]) -> list[str]:
    """Return the table of targets: the measured ratio, its quartiles, the bound, and whether the target is met."""
    lines = [_line("work", "measured", "quartiles", "target", "met"), _line(*["---"] * 5)]
    for row in rows:
        if row.fault:
            lines += [_line(row.work, "", "", target_text(target, row.quantity), row.fault) for target in row.targets]
        for verdict in row.verdicts():
            low, high = (_figure(value, verdict.target, row.quantity) for value in verdict.quartiles)
            measured = (_figure(verdict.median, verdict.target, row.quantity), f"{low} to {high}")
            shown = ("", "") if verdict.met is None else measured
            lines.append(_line(row.work, *shown, target_text(verdict.target, row.quantity), verdict.words))
    return lines


def target_text(target: Target, of: Quantity) -> str:
    """Return the text of a target: the bound, and the peers that it is relative to."""
    word = "at least" if target.at_least else "at most"
    bound = _figure(target.bound, target, of)
    peers = " and ".join(TITLES[peer] for peer in target.peers)
    better = "the better of " if len(target.peers) > 1 else ""
    return f"{word} {bound}" + (f" of {better}{peers}" if peers else "")


def _figure(value: float, target: Target, of: Quantity) -> str:
    return _ratio(value) if target.peers else quantity(value, of)


def _ratio(value: float) -> str:
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def notes(rows: Iterable[Row]) -> list[str]:
    """Return the notes of all figures that miss their targets, as a list."""
    missing = [row for row in rows if row.note and any(verdict.met is False for verdict in row.verdicts())]
    return ["", *[f"- {row.work}: {row.note}" for row in missing]] if missing else []


def page(sections: Mapping[str, Sequence[Row]], opening: Sequence[str]) -> str:
    """Return the page: the opening, then the two tables of each section."""
    lines = ["# Measurements", "", *opening]
    for title, rows in sections.items():
        if rows:
            lines += ["", f"## {title}", "", *figures(rows), "", *verdicts(rows), *notes(rows)]
    return "\n".join([*lines, ""])
