"""Faults planted in workers: a request whose `seed` is one of these does it instead of being computed.

A test that uses `workers_with_faults` has its application's fork server import this module before it makes workers.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import orjson

from app.evaluation.evaluator import Evaluator

START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv.pop(1)); import tests.promises.planted as planted; "
    "planted.plant(); from app.workers.fork_server import main; main()"
)


def abort() -> None:
    os.abort()


def leave() -> None:
    os._exit(3)


def segfault() -> None:
    ctypes.string_at(0)


def be_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang() -> None:
    """Hold the interpreter, as a kernel would that never looks at the clock."""
    while True:
        pass


def hoard() -> None:
    held = []
    while True:
        held.append(bytearray(2**24))


def write() -> None:
    """Write more to standard error than a pipe holds."""
    for number in range(2000):
        sys.stderr.write(f"line {number} {'-' * 100}\n")


def fail() -> None:
    raise ZeroDivisionError("secret")


FAULTS: dict[str, Callable[[], None]] = {
    fault.__name__: fault for fault in (abort, leave, segfault, be_killed, hang, hoard, write, fail)
}
SEEDS = {name: 1000 + index for index, name in enumerate(FAULTS)}


def plant() -> None:
    """Let every evaluator of this process do what a request's seed asks for, as its last step before it runs."""
    planted = {SEEDS[name]: fault for name, fault in FAULTS.items()}
    answer = Evaluator._answer

    def faulty(self: Evaluator, call: Any, *rest: Any) -> Any:
        fault = planted.get(orjson.loads(call.body).get("seed"))
        if fault is not None:
            fault()
        return answer(self, call, *rest)

    Evaluator._answer = faulty  # type: ignore[method-assign, assignment]
