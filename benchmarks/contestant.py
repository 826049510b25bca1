"""One contestant of a workload in a process of its own: `python -m benchmarks.contestant WORKLOAD CONTESTANT`.

So no library changes another's heap or threads. The process does the work at its small size first, so that code,
thread pools and compilers are in memory. What it holds then is the baseline. It does the work at full size twice, has
the kernel forget the peak so far, and does it once more: the peak of that run above the baseline is its peak memory, so
buffers that a library keeps between runs count. It prints that, and then answers each line of standard input: a number
of calls with the seconds that they took, a path once it holds the results.
"""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.threads import bind

if TYPE_CHECKING:
    from benchmarks.workload import Run

ROOT = Path(__file__).parent.parent


class Failed(Exception):
    """A contestant's process ended before it was told to."""


class Contestant:
    """A contestant's process as others see it; closing it ends it."""

    def __init__(self, workload: str, name: str) -> None:
        self.name = name
        command = [sys.executable, "-m", "benchmarks.contestant", workload, name]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        self.peak_bytes = int(self._line())

    def seconds(self, calls: int) -> float:
        """Return the seconds that so many calls take. Raises Failed."""
        return float(self._asked(str(calls)))

    def results(self) -> list[Any]:
        """Return the results of a call as arrays. Raises Failed."""
        import numpy as np  # noqa: PLC0415  # threads are bound before NumPy is loaded

        with tempfile.NamedTemporaryFile(suffix=".npz") as file:
            self._asked(file.name)
            with np.load(file.name) as found:
                return [found[name] for name in found.files]

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _asked(self, line: str) -> str:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        return self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            said = self._process.communicate()[1].strip().splitlines() or ["nothing"]
            raise Failed(f"{self.name} failed: {said[-1]}")
        return line


def _status(name: str) -> int:
    """Return a line of the process's status in bytes; proc(5): VmRSS, VmHWM in kB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _prepared(workload: str, name: str) -> tuple[Run, int]:
    """Return the work at full size, and its peak memory."""
    from benchmarks.workloads import WORKLOADS  # noqa: PLC0415

    known = WORKLOADS[workload]
    small = known.case(**known.small).contestants[name]()
    for _ in range(5):
        small()
    case = known.case(**known.full)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # memory that is free already would hide as much of the peak
    baseline = _status("VmRSS")
    run = case.contestants[name]()
    for _ in range(2):
        run()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # proc(5): resets VmHWM
    run()
    return run, max(0, _status("VmHWM") - baseline)


def _seconds(run: Run, calls: int) -> float:
    begin = time.perf_counter()
    for _ in range(calls):
        run()
    return time.perf_counter() - begin


def _save(path: str, results: Sequence[Any]) -> None:
    import numpy as np  # noqa: PLC0415

    np.savez(path, *[np.asarray(result) for result in results])


def _serve(workload: str, name: str) -> None:
    run, peak = _prepared(workload, name)
    print(peak, flush=True)
    gc.freeze()
    for line in sys.stdin:
        asked = line.strip()
        if asked.isdigit():
            print(_seconds(run, int(asked)), flush=True)
        else:
            _save(asked, run())
            print("saved", flush=True)


if __name__ == "__main__":
    bind()
    _serve(*sys.argv[1:])
