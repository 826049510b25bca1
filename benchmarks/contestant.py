"""One contestant of a workload in its own process: `python -m benchmarks.contestant WORKLOAD CONTESTANT`.

Separate processes keep each library's malloc and threads independent. The process first runs the work at its small
size, so that code, thread pools and compilers are in memory. Its memory then is the baseline. It runs the work at full
size twice, resets the kernel's peak counter, and runs it once more. The peak memory is the peak of the third run above
the baseline, so it includes buffers that a library keeps between runs. The process prints the peak memory. Then it
reads commands, one on each line of standard input: for a number of calls, it prints the seconds that they take; for a
path, it saves the results there and prints a line. `benchmarks.engine_rows` and `benchmarks.cost_rows` start the
processes.
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
    """A contestant's process ended unexpectedly."""


class Contestant:
    """The parent's handle of a contestant's process. `close` ends the process."""

    def __init__(self, workload: str, name: str) -> None:
        self.name = name
        command = [sys.executable, "-m", "benchmarks.contestant", workload, name]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        self.peak_bytes = int(self._line())

    def seconds(self, calls: int) -> float:
        """Return the seconds that `calls` calls take. Raises Failed."""
        return float(self._reply(str(calls)))

    def results(self) -> list[Any]:
        """Return the results of one call as arrays. Raises Failed."""
        import numpy as np  # noqa: PLC0415  # threads are bound before NumPy is loaded

        with tempfile.NamedTemporaryFile(suffix=".npz") as file:
            self._reply(file.name)
            with np.load(file.name) as found:
                return [found[name] for name in found.files]

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _reply(self, line: str) -> str:
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
    """Return a line of the process's status, in bytes. proc(5): VmRSS, VmHWM in kB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _prepared(workload: str, name: str) -> tuple[Run, int]:
    """Return the work at full size and its peak memory in bytes."""
    from benchmarks.workloads import WORKLOADS  # noqa: PLC0415

    known = WORKLOADS[workload]
    small = known.case(**known.small).contestants[name]()
    for _ in range(5):
        small()
    case = known.case(**known.full)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # memory that malloc keeps free would hide part of the peak
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
        command = line.strip()
        if command.isdigit():
            print(_seconds(run, int(command)), flush=True)
        else:
            _save(command, run())
            print("saved", flush=True)


if __name__ == "__main__":
    bind()
    _serve(*sys.argv[1:])
