"""Rows of the engine: time and peak memory of each workload. Results are compared before the first timing."""

from __future__ import annotations

import contextlib

from benchmarks.contestant import Contestant, Failed
from benchmarks.effort import Effort
from benchmarks.results import Row
from benchmarks.timing import compare, interleaved
from benchmarks.workload import Workload


def engine_rows(workload: Workload, effort: Effort) -> tuple[Row, Row]:
    """Return the row of a workload's time and the row of its peak memory."""
    names = list(workload.case(**workload.small).contestants)
    fault, times, peaks = "", {}, {}
    try:
        with contextlib.ExitStack() as stack:
            running = [stack.enter_context(contextlib.closing(Contestant(workload.name, name))) for name in names]
            peaks = {one.name: [float(one.peak_bytes)] for one in running}
            fault = "; ".join(compare({one.name: one.results() for one in running}, workload.rtol))
            if not fault:
                turns = {one.name: one.seconds for one in running}
                times = interleaved(turns, rounds=effort.rounds, seconds=effort.seconds)
    except Failed as error:
        fault = str(error)
    return (
        Row(workload.name, workload.work, "time", times, workload.time, fault, workload.note),
        Row(workload.name, workload.work, "memory", peaks, workload.memory, fault, workload.memory_note),
    )
