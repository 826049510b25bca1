"""What the command line does: measure everything and write RESULTS.md; with `--only` or `--quick` it only prints."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.engine_rows import FULL, QUICK, Effort, memory_row, time_row
from benchmarks.machine import machine, versions
from benchmarks.results import Row, page
from benchmarks.threads import THREADS
from benchmarks.workloads import WORKLOADS

PAGE = Path(__file__).parent / "RESULTS.md"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the arguments ask for."""
    given = _parser().parse_args(arguments)
    if given.list:
        print("\n".join(f"{name:16} {workload.work}" for name, workload in WORKLOADS.items()))
        return
    effort = QUICK if given.quick else FULL
    names = given.only or list(WORKLOADS)
    text = page(_measured(names, effort), _opening(effort))
    print(text)
    if not given.only and not given.quick:
        PAGE.write_text(text, encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("benchmarks", description=__doc__)
    parser.add_argument("--list", action="store_true", help="list what can be measured")
    parser.add_argument("--only", type=_names, metavar="NAME,NAME", help="measure these alone")
    parser.add_argument("--quick", action="store_true", help="few and short rounds: whether it runs, not how fast")
    return parser


def _names(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in WORKLOADS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no {', '.join(unknown)}; --list has the names")
    return names


def _measured(names: Sequence[str], effort: Effort) -> dict[str, list[Row]]:
    workloads = [WORKLOADS[name] for name in names]
    return {
        "Engine: time of forward and backward": list(_told(time_row(workload, effort) for workload in workloads)),
        "Engine: peak memory": list(_told(memory_row(workload, effort) for workload in workloads)),
    }


def _told(rows: Iterator[Row]) -> Iterator[Row]:
    for row in rows:
        print(f"measured the {row.quantity} of {row.name} {row.fault}", file=sys.stderr, flush=True)
        yield row


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
