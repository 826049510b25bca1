"""The rows of the engine: time and peak memory of each workload. Results are compared before anything is timed."""

from __future__ import annotations

import subprocess
from dataclasses import replace

from benchmarks.effort import Effort
from benchmarks.memory import peak_of
from benchmarks.results import Row
from benchmarks.timing import compare, interleaved
from benchmarks.workload import Workload


def time_row(workload: Workload, effort: Effort) -> Row:
    """Return the row of a workload's time."""
    row = Row(workload.name, workload.work, "time", targets=workload.time, note=workload.note)
    runs = {name: prepare() for name, prepare in workload.case(**workload.full).contestants.items()}
    differences = compare(runs, workload.rtol)
    if differences:
        return replace(row, fault="; ".join(differences))
    return replace(row, samples=interleaved(runs, rounds=effort.rounds, seconds=effort.seconds))


def memory_row(workload: Workload, effort: Effort) -> Row:
    """Return the row of a workload's peak memory."""
    row = Row(workload.name, workload.work, "memory", targets=workload.memory, note=workload.memory_note)
    names = list(workload.case(**workload.small).contestants)
    samples: dict[str, list[float]] = {name: [] for name in names}
    try:
        for _ in range(effort.processes):
            for name in names:
                samples[name].append(peak_of(workload.name, name))
    except subprocess.CalledProcessError as error:
        return replace(row, fault=f"a run failed: {error.stderr.strip().splitlines()[-1]}")
    return replace(row, samples=samples)
