"""The peak memory of one contestant, in a process of its own: `python -m benchmarks.memory WORKLOAD CONTESTANT`.

The process loads the library and the values and does the work at its small size, so that code, thread pools and
compilers are in memory. What it holds then is the baseline. It does the work at full size twice, has the kernel forget
the peak so far, and does it once more: the peak of that run above the baseline is printed, in bytes. Buffers that a
library keeps between runs therefore count, for everybody.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

from benchmarks.threads import bind

ROOT = Path(__file__).parent.parent


def peak_of(workload: str, contestant: str) -> int:
    """Return the peak memory of a contestant in bytes, from a new process. Raises CalledProcessError."""
    command = [sys.executable, "-m", "benchmarks.memory", workload, contestant]
    return int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


def _status(name: str) -> int:
    """Return a line of the process's status in bytes; proc(5): VmRSS, VmHWM in kB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _measure(workload: str, contestant: str) -> int:
    from benchmarks.workloads import WORKLOADS  # noqa: PLC0415  # threads are bound before NumPy is loaded

    known = WORKLOADS[workload]
    small = known.case(**known.small).contestants[contestant]()
    for _ in range(5):
        small()
    case = known.case(**known.full)
    ctypes.CDLL(None).malloc_trim(0)  # memory that is free already would hide as much of the peak
    baseline = _status("VmRSS")
    run = case.contestants[contestant]()
    for _ in range(2):
        run()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # proc(5): resets VmHWM
    results = run()
    peak = _status("VmHWM") - baseline
    del results
    return max(0, peak)


if __name__ == "__main__":
    bind()
    print(_measure(*sys.argv[1:]))
