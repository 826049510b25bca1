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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
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


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(CORES, thread_name_prefix="cores")


def shared(function: Callable[..., R], parts: Sequence[tuple[Any, ...]]) -> list[R]:
    """Return the function's results on the arguments of each part, on as many cores as are available.

    NumPy's loops let go of the interpreter's lock, and BLAS does. All parts have ended when an error is raised.
    """
    count = min(available(), len(parts))
    if count == 1:
        return [function(*part) for part in parts]

    def some(first: int) -> list[R]:
        return [function(*part) for part in parts[first::count]]

    futures = [_threads().submit(some, first) for first in range(1, count)]
    try:
        here = some(0)
    finally:
        wait(futures)
    groups = [here, *(future.result() for future in futures)]
    return [groups[number % count][number // count] for number in range(len(parts))]
