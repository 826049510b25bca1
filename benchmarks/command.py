"""What the command line does: measure everything, write RESULTS.md and the README's table; or print a part."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.effort import FULL, QUICK, Effort
from benchmarks.engine_rows import memory_row, time_row
from benchmarks.machine import machine, versions
from benchmarks.readme import updated
from benchmarks.results import Row, page
from benchmarks.service.exchanges import EXCHANGES
from benchmarks.service.rows import HEALTH, HEALTH_WORK, exchange_row, health_row
from benchmarks.threads import THREADS
from benchmarks.workloads import CATALOGUE

Measure = Callable[[Effort], Row]
TIME, MEMORY, SERVICE = "Engine: time of forward and backward", "Engine: peak memory", "Service"
IN_README = (TIME, SERVICE)
PAGE = Path(__file__).parent / "RESULTS.md"
README = Path(__file__).parent.parent / "README.md"


@dataclass(frozen=True)
class Measurement:
    """What `--only` names: rows by the section of the page that they stand in."""

    name: str
    work: str
    rows: Mapping[str, Measure]


MEASUREMENTS = {
    measurement.name: measurement
    for measurement in (
        *[
            Measurement(known.name, known.work, {TIME: partial(time_row, known), MEMORY: partial(memory_row, known)})
            for known in CATALOGUE
        ],
        *[Measurement(known.name, known.work, {SERVICE: partial(exchange_row, known)}) for known in EXCHANGES],
        Measurement(HEALTH, HEALTH_WORK, {SERVICE: health_row}),
    )
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the arguments ask for."""
    given = _parser().parse_args(arguments)
    if given.list:
        print("\n".join(f"{name:16} {known.work}" for name, known in MEASUREMENTS.items()))
        return
    effort = QUICK if given.quick else FULL
    text = page(_measured(given.only or list(MEASUREMENTS), effort), _opening(effort))
    print(text)
    if not given.only and not given.quick:
        PAGE.write_text(text, encoding="utf-8")
        README.write_text(updated(README.read_text(encoding="utf-8"), text, IN_README), encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("benchmarks", description=__doc__)
    parser.add_argument("--list", action="store_true", help="list what can be measured")
    parser.add_argument("--only", type=_names, metavar="NAME,NAME", help="measure these alone")
    parser.add_argument("--quick", action="store_true", help="few and short rounds: whether it runs, not how fast")
    return parser


def _names(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in MEASUREMENTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no {', '.join(unknown)}; --list has the names")
    return names


def _measured(names: Sequence[str], effort: Effort) -> dict[str, list[Row]]:
    sections: dict[str, list[Row]] = {TIME: [], MEMORY: [], SERVICE: []}
    for name in names:
        for section, measure in MEASUREMENTS[name].rows.items():
            row = measure(effort)
            print(f"measured the {row.quantity} of {name} {row.fault}", file=sys.stderr, flush=True)
            sections[section].append(row)
    return sections


def _opening(effort: Effort) -> list[str]:
    return [
        f"Written by `make bench` on {machine()}; {versions()}.",
        "",
        f"All contestants have {THREADS} threads and are bound to as many cores. Their results are compared first;",
        f"then they take turns in one process, {effort.rounds} rounds of {effort.seconds} s after a warm-up of two.",
        "Figures are medians. A ratio is the median of the rounds' ratios; its quartiles are those of the rounds.",
        "",
        "Peak memory is that of a third run above what the process held before the first, so buffers that are kept",
        f"between runs count; {effort.processes} processes for each contestant.",
    ]
