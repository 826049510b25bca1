"""Threads for the parts of one step, and the number of threads of BLAS.

Each concurrent computation gets one core before any computation gets two. A step that waits for a core for half of its
work is slower than a step on one core. `engine.execute` counts the running computations. Kernels divide their work into
parts, which run on the cores that are available to the computation at that moment.

BLAS uses one thread for the same reason. Its threads wait in busy loops and do not know about other threads. Products
of two computations on two cores took 5 to 30 times as long (measured with OpenBLAS 0.3.31).
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

from engine.graph.cores import available_cores

R = TypeVar("R")

CORES = available_cores()
"""Number of cores that this process may use."""

_under_way: list[None] = []
"""One entry per running computation. Append and pop are atomic, an increment is not."""


@contextmanager
def computing() -> Iterator[None]:
    """Count a computation as running inside the `with` block."""
    _under_way.append(None)
    try:
        yield
    finally:
        _under_way.pop()


def available() -> int:
    """Return the number of cores that a step of one computation may use now."""
    return max(1, CORES // max(1, len(_under_way)))


def claim_blas(threads: int = 1) -> None:
    """Set the number of BLAS threads for all calls in the process."""
    for library in _blas():
        library.set_num_threads(threads)


def with_threads_of_blas(kernel: Callable[..., R]) -> Callable[..., R]:
    """Return a kernel that runs with BLAS on all available cores. For kernels that cannot be divided into parts.

    The number of threads applies to the process. Another product that runs at the same time may use it too, which can
    only cost time.
    """

    def run(*arrays: Any, **params: Any) -> R:
        claim_blas(available())
        try:
            return kernel(*arrays, **params)
        finally:
            claim_blas()

    return run


@functools.cache
def _blas() -> list[Any]:
    return [library for library in ThreadpoolController().lib_controllers if library.user_api == "blas"]


class _Task:
    """Parts of a step that wait for a thread. The first thread that claims them runs them: a helper or the caller."""

    __slots__ = ("_claim", "_ended", "_error", "_function", "_parts", "_results")

    def __init__(self, function: Callable[..., Any], parts: Sequence[tuple[Any, ...]]) -> None:
        self._function, self._parts = function, parts
        self._results: list[Any] = []
        self._error: BaseException | None = None
        self._claim, self._ended = threading.Lock(), threading.Lock()
        self._ended.acquire()

    def run(self) -> None:
        """Run the parts, unless another thread has claimed them."""
        if not self._claim.acquire(blocking=False):
            return
        try:
            self._results = [self._function(*part) for part in self._parts]
        except BaseException as error:  # noqa: BLE001  # `results` raises it
            self._error = error
        finally:
            self._parts = ()
            self._ended.release()

    def wait(self) -> None:
        """Wait until the parts have ended. May be called once."""
        self._ended.acquire()

    def results(self) -> list[Any]:
        """Return the results of the parts. Raises the exception of a failed part."""
        if self._error is not None:
            raise self._error
        found, self._results = self._results, []  # a helper may reference the task for a moment longer
        return found


@functools.cache
def _waiting() -> SimpleQueue[_Task]:
    """Return the queue of tasks for helper threads. There is one helper per core, except the first core.

    A queue and a lock transfer work in at most 50 µs. The futures of an executor take twice as long.
    """
    tasks: SimpleQueue[_Task] = SimpleQueue()

    def help_out() -> None:
        while True:
            tasks.get().run()

    for number in range(1, CORES):
        threading.Thread(target=help_out, name=f"core-{number}", daemon=True).start()
    return tasks


def shared(function: Callable[..., R], parts: Sequence[tuple[Any, ...]]) -> list[R]:
    """Return the results of the function for the arguments of each part, computed on the available cores.

    NumPy's loops and BLAS release the interpreter lock. All parts have ended when an error is raised.
    """
    count = min(available(), len(parts))
    if count == 1:
        return [function(*part) for part in parts]
    tasks = [_Task(function, parts[first::count]) for first in range(count)]
    for task in tasks[1:]:
        _waiting().put(task)
    for task in tasks:
        task.run()
    for task in tasks:
        task.wait()
    groups = [task.results() for task in tasks]
    return [groups[number % count][number // count] for number in range(len(parts))]
