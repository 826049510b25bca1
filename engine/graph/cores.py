"""The number of cores that this process may use. `engine.graph.threads` and the settings of the service ask for it.

`os.cpu_count` has the cores of the machine. A process may use fewer: those of its affinity mask, and as many as the CPU
quota of its container allows. A quota is a property of a control group and of each group above it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath


def available_cores(root: Path = Path("/")) -> int:
    """Return the number of cores, at least one. `root` contains the folders `proc` and `sys`.

    A quota of one and a half cores counts as two: the second one is used for half of the time.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min([affinity, *_quotas(root)])))


def _quotas(root: Path) -> Iterator[float]:
    """Yield the CPU quota of each control group of this process that has one, in cores (Linux)."""
    mounted = root / "sys/fs/cgroup"
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:  # version 2
                for folder in _folders(mounted, path):
                    yield from _quota_of(folder / "cpu.max")
            elif "cpu" in controllers.split(","):  # version 1
                for mount in {mounted / "cpu", mounted / controllers}:
                    for folder in _folders(mount, path):
                        yield from _quota_of(folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us")


def _folders(mount: Path, path: str) -> Iterator[Path]:
    """Yield the folders of a control group and of the groups above it.

    In a container the mount may begin at the container's group, while the path begins at the machine's.
    """
    group = PurePosixPath(path.lstrip("/"))
    for part in (group, *group.parents):
        yield mount / part


def _quota_of(*files: Path) -> Iterator[float]:
    """Yield the quota in the files, if there is one: `max` and negative numbers are none."""
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota, period, *_ = " ".join(file.read_text(encoding="ascii") for file in files).split()
        if quota != "max" and int(quota) > 0:
            yield int(quota) / int(period)
