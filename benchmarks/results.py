"""What was measured, and what it says: rows of figures, targets, and the Markdown page that has both.

A row is one kind of work by several contestants, with as many samples as there were rounds. Sample n of every
contestant is of round n, taken within the same few seconds, so ratios are of pairs of samples and noise that lasts
longer than a round cancels. The median of these ratios is held against the target.
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
"""Contestants as the page names them, in the order of its columns."""

TIMES = ((1, "s"), (1e-3, "ms"), (1e-6, "µs"))

NOISE = 2**20
"""Bytes below which a process's peak says nothing: what allocators keep differs by as much from run to run."""


@dataclass(frozen=True)
class Target:
    """A bound on gradd's figure divided by that of a peer, or of the best of several; of none: on the figure itself."""

    bound: float
    peers: tuple[str, ...] = ()
    at_least: bool = False


@dataclass(frozen=True)
class TargetVerdict:
    """The median and the quartiles of what a target bounds, and whether it is met; None where nothing can be said."""

    target: Target
    median: float
    quartiles: tuple[float, float]
    met: bool | None

    @property
    def words(self) -> str:
        """What the table says."""
        return {True: "yes", False: "**no**", None: "too little to tell"}[self.met]


@dataclass(frozen=True)
class Row:
    """One kind of work: samples in seconds, bytes, calls a second or factors, by contestant; or a `fault` instead.

    `note` says what bounds a figure that misses its target.
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
        """Return what the samples say of each target."""
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
    """Return the table of figures: a row for each kind of work, a column for each contestant."""
    present = {name for row in rows for name in row.samples}
    columns = [name for name in TITLES if name in present]
    lines = [_line("work", *[TITLES[name] for name in columns]), _line(*["---"] * (len(columns) + 1))]
    for row in rows:
        cells = [quantity(row.median(name), row.quantity) if name in row.samples else "" for name in columns]
        lines.append(_line(row.work, *cells))
    return lines


def verdicts(rows: Iterable[Row]) -> list[str]:
    """Return the table of targets: the measured ratio, its quartiles, the bound, whether it is met."""
    lines = [_line("work", "measured", "quartiles", "target", "met"), _line(*["---"] * 5)]
    for row in rows:
        if row.fault:
            lines += [_line(row.work, "", "", told(target, row.quantity), row.fault) for target in row.targets]
        for verdict in row.verdicts():
            low, high = (_figure(value, verdict.target, row.quantity) for value in verdict.quartiles)
            measured = (_figure(verdict.median, verdict.target, row.quantity), f"{low} to {high}")
            shown = ("", "") if verdict.met is None else measured
            lines.append(_line(row.work, *shown, told(verdict.target, row.quantity), verdict.words))
    return lines


def told(target: Target, of: Quantity) -> str:
    """Return a target in words."""
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
    """Return what bounds the figures that miss their targets, as a list."""
    missing = [row for row in rows if row.note and any(verdict.met is False for verdict in row.verdicts())]
    return ["", *[f"- {row.work}: {row.note}" for row in missing]] if missing else []


def page(sections: Mapping[str, Sequence[Row]], opening: Sequence[str]) -> str:
    """Return the page: what was measured where and how, then the two tables of each section."""
    lines = ["# Measurements", "", *opening]
    for title, rows in sections.items():
        if rows:
            lines += ["", f"## {title}", "", *figures(rows), "", *verdicts(rows), *notes(rows)]
    return "\n".join([*lines, ""])
