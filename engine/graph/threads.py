"""The cores of this machine, and the threads that one step shares them with.

Computations that run at the same time have a core each before any of them has two: handing half of a step to a thread
that has to wait for a core is slower than running the whole. `engine.execute` says what is under way; kernels divide
their work into parts, which run on the cores that are theirs at that moment.

BLAS has one thread for the same reason. Its own threads wait for one another in loops, and know nothing of ours: where
two computations shared two cores, products took 5 to 30 times as long (measured with OpenBLAS 0.3.31).
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

R = TypeVar("R")

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
"""The cores that this process may run on."""

_under_way: list[None] = []
"""One entry for each computation that is running: appending and popping are atomic, counting up is not."""


@contextmanager
def computing() -> Iterator[None]:
    """Count a computation as running inside the `with` block."""
    _under_way.append(None)
    try:
        yield
    finally:
        _under_way.pop()


def available() -> int:
    """Return how many cores a step of one computation may use now."""
    return max(1, CORES // max(1, len(_under_way)))


def claim_blas(threads: int = 1) -> None:
    """Give BLAS that many threads for each of its calls, whoever makes them."""
    for library in _blas():
        library.set_num_threads(threads)


def with_threads_of_blas(kernel: Callable[..., R]) -> Callable[..., R]:
    """Return the kernel with a BLAS that may use the cores that are available: for what cannot be cut into parts.

    The number is the process's, so a product that runs at the same moment may get it too: that costs time at worst.
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
    """Parts of a step that wait for a thread. Whoever claims them first runs them, a helper or who handed them over."""

    __slots__ = ("_claim", "_ended", "_error", "_function", "_parts", "_results")

    def __init__(self, function: Callable[..., Any], parts: Sequence[tuple[Any, ...]]) -> None:
        self._function, self._parts = function, parts
        self._results: list[Any] = []
        self._error: BaseException | None = None
        self._claim, self._ended = threading.Lock(), threading.Lock()
        self._ended.acquire()

    def run(self) -> None:
        """Run the parts, unless somebody does already."""
        if not self._claim.acquire(blocking=False):
            return
        try:
            self._results = [self._function(*part) for part in self._parts]
        except BaseException as error:  # noqa: BLE001  # raised where the results are asked for
            self._error = error
        finally:
            self._parts = ()
            self._ended.release()

    def wait(self) -> None:
        """Return when the parts have ended. To be called once."""
        self._ended.acquire()

    def results(self) -> list[Any]:
        """Return what the parts gave. Raises what one of them raised."""
        if self._error is not None:
            raise self._error
        found, self._results = self._results, []  # a helper may hold the task a moment longer
        return found


@functools.cache
def _waiting() -> SimpleQueue[_Task]:
    """Return the tasks that wait for a helper, of which there is one for each further core.

    A queue and a lock hand work over in 50 µs and less; an executor's futures take twice as long.
    """
    tasks: SimpleQueue[_Task] = SimpleQueue()

    def help_out() -> None:
        while True:
            tasks.get().run()

    for number in range(1, CORES):
        threading.Thread(target=help_out, name=f"core-{number}", daemon=True).start()
    return tasks


def shared(function: Callable[..., R], parts: Sequence[tuple[Any, ...]]) -> list[R]:
    """Return the function's results on the arguments of each part, on as many cores as are available.

    NumPy's loops let go of the interpreter's lock, and BLAS does. All parts have ended when an error is raised.
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
