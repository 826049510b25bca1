"""The command line: measures all rows and writes RESULTS.md and the README's table, or prints selected rows."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.cost_rows import COST, COST_WORK, PREDICTED, cost_rows
from benchmarks.effort import FULL, QUICK, Effort
from benchmarks.engine_rows import engine_rows
from benchmarks.machine import load, machine, versions
from benchmarks.readme import updated
from benchmarks.results import Row, page
from benchmarks.service.exchanges import SCENARIOS
from benchmarks.service.rows import (
    HEALTH,
    HEALTH_WORK,
    SHORT_REQUESTS,
    SHORT_WORK,
    health_rows,
    scenario_rows,
    short_rows,
)
from benchmarks.service.short_requests import SHORT
from benchmarks.threads import THREADS
from benchmarks.workloads import CATALOGUE

Measure = Callable[[Effort], Sequence[Row]]
TIME, MEMORY = "Engine: time of forward and backward", "Engine: peak memory"
SERVICE, PREDICTION = "Service", "The cost model: predicted and measured time"
SHORT_SECTION = "Health beside short requests with long work: the slowest answer"
IN_README = (TIME, SERVICE)
PAGE = Path(__file__).parent / "RESULTS.md"
README = Path(__file__).parent.parent / "README.md"


@dataclass(frozen=True)
class Measurement:
    """A measurement that `--only` can select: its rows, and the section of the page for each row."""

    name: str
    work: str
    sections: tuple[str, ...]
    rows: Measure


MEASUREMENTS = {
    measurement.name: measurement
    for measurement in (
        *[Measurement(known.name, known.work, (TIME, MEMORY), partial(engine_rows, known)) for known in CATALOGUE],
        *[Measurement(known.name, known.work, (SERVICE,), partial(scenario_rows, known)) for known in SCENARIOS],
        Measurement(HEALTH, HEALTH_WORK, (SERVICE,), health_rows),
        Measurement(SHORT_REQUESTS, SHORT_WORK, (SHORT_SECTION,) * len(SHORT), short_rows),
        Measurement(COST, COST_WORK, (PREDICTION,) * (len(PREDICTED) + 1), cost_rows),
    )
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the measurements that the arguments select."""
    given = _parser().parse_args(arguments)
    if given.list:
        print("\n".join(f"{name:16} {known.work}" for name, known in MEASUREMENTS.items()))
        return
    effort = QUICK if given.quick else FULL
    opening = _opening(effort)
    text = page(_measured(given.only or list(MEASUREMENTS), effort), opening)
    print(text)
    if not given.only and not given.quick:
        PAGE.write_text(text, encoding="utf-8")
        README.write_text(updated(README.read_text(encoding="utf-8"), text, IN_README), encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("benchmarks", description=__doc__)
    parser.add_argument("--list", action="store_true", help="list the measurements")
    parser.add_argument("--only", type=_names, metavar="NAME,NAME", help="run only these measurements")
    parser.add_argument("--quick", action="store_true", help="few short rounds, to check that everything runs")
    return parser


def _names(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in MEASUREMENTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no {', '.join(unknown)}; --list has the names")
    return names


def _measured(names: Sequence[str], effort: Effort) -> dict[str, list[Row]]:
    sections: dict[str, list[Row]] = {TIME: [], MEMORY: [], SERVICE: [], SHORT_SECTION: [], PREDICTION: []}
    for name in names:
        known = MEASUREMENTS[name]
        for section, row in zip(known.sections, known.rows(effort), strict=True):
            print(f"measured the {row.quantity} of {name} {row.fault}", file=sys.stderr, flush=True)
            sections[section].append(row)
    return sections


def _opening(effort: Effort) -> list[str]:
    return [
        f"Written by `make bench` on {machine()}; {load()} before it began.",
        f"{versions()}.",
        "",
        f"Each contestant runs in its own process with {THREADS} threads, on the same {THREADS} cores. The results are",
        f"compared first. Then the contestants take turns: two rounds to warm up, and {effort.rounds} rounds with",
        f"{effort.seconds} s for each contestant. Figures are medians over the rounds. Ratios are computed for each",
        "round; the table shows their median and quartiles.",
        "",
        "Peak memory is the peak of a third run above the memory of the process before the first run. It includes the",
        "buffers that a library keeps between runs.",
    ]
