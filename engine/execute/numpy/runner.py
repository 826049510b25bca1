"""Run the steps of a plan with NumPy, in order, on the calling thread."""

from __future__ import annotations

import contextvars
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.errors import DeadlineExceeded, OpError, Path, ValueFault
from engine.execute.numpy.codegen import MOST_STEPS, StraightLine, straight_line
from engine.execute.numpy.malloc import keep_freed
from engine.execute.numpy.tiles import Blocked
from engine.graph.graph import Node
from engine.graph.threads import claim_blas, computing
from engine.plan.plan import Plan, Source
from engine.plan.steps import Step

SMALL_BYTES = 2**20
"""Peak memory up to which a plan is so fast that the deadline need not be checked while it runs."""

WARM = 4
"""Number of runs after which a small plan is compiled to straight-line code: compiling costs about as much."""


keep_freed()
claim_blas()


class _Quiet(threading.local):
    """A context for each thread without NumPy warnings: entering it takes a tenth of the time of np.errstate."""

    def __init__(self) -> None:
        context = contextvars.Context()
        context.run(np.seterr, all="ignore")
        self.run = context.run


_QUIET = _Quiet()


@dataclass(slots=True)
class Runner:
    """Runs a plan; a small plan that runs often is compiled to straight-line code. Several threads may call it."""

    plan: Plan
    _runs: int = 0
    _compiled: StraightLine | None = field(default=None, repr=False)

    def run(self, values: Mapping[Source, Any], *, deadline: float | None = None) -> list[Any]:
        """Return the plan's outputs as arrays.

        `values` has an array for every input. `deadline` is a time of `time.monotonic()`, checked between steps. Raises
        ValueFault if an op rejects a value.
        """
        given = [values[source] for source, _ in self.plan.inputs]
        if self._compiled is not None:
            try:
                return _QUIET.run(self._compiled, given)
            except OpError:
                pass  # the run below raises it again, with its location
        self._warm()
        with computing():
            return _QUIET.run(_interpret, self.plan, given, deadline)

    def _warm(self) -> None:
        plan = self.plan
        self._runs += 1
        if self._runs == WARM and plan.peak_bytes <= SMALL_BYTES and plan.code.count <= MOST_STEPS:
            self._compiled = straight_line(plan)


def numpy_executor(plan: Plan) -> Runner:
    """Return the executable that runs a plan with NumPy."""
    return Runner(plan.settled())


def _interpret(plan: Plan, given: Sequence[Any], deadline: float | None) -> list[Any]:
    """Run the steps one by one."""
    memory = list(plan.memory)
    for (_, slot), value in zip(plan.inputs, given, strict=True):
        memory[slot] = value
    number = 0
    try:
        for step in plan.code.steps():
            if deadline is not None and time.monotonic() > deadline:
                raise DeadlineExceeded("the deadline passed while the graph ran")
            _take(step, memory)
            number += 1
    except OpError as error:
        raise ValueFault(error.code, error.detail, error.hint, _path(plan, number, error)) from error
    return [memory[slot] for slot in plan.outputs]


def _path(plan: Plan, number: int, error: OpError) -> Path:
    """Return the path in the request of the op that raised the error of a step; a cluster's error has its node."""
    origin = error.node.origin if isinstance(error.node, Node) else plan.origins[number]
    return () if origin is None or origin < 0 else ("graph", "ops", origin)


def _take(step: Step, memory: list[Any]) -> None:
    """Run a step. Afterwards only `memory` references the arrays, so that a released array is freed."""
    (kernel, extra, params), args, results, dead = step
    if type(kernel) is Blocked and kernel.over:
        free = _free(kernel, step, memory)  # before the call references the arrays
        result = kernel(*[memory[slot] for slot in args], free=free)
    elif params:
        result = kernel(*[memory[slot] for slot in args], *extra, **params)
    elif extra:
        result = kernel(*[memory[slot] for slot in args], *extra)
    else:
        result = kernel(*[memory[slot] for slot in args])
    if isinstance(results, int):
        memory[results] = result
    else:
        for slot, value in zip(results, result, strict=True):
            memory[slot] = value
    for slot in dead:
        memory[slot] = None


def _free(kernel: Blocked, step: Step, memory: list[Any]) -> list[int]:
    """Return the positions of the cluster's inputs that it may overwrite: they have no later reader."""
    _, args, results, dead = step
    last = {*dead, *(() if isinstance(results, int) else results)}
    positions = [source for _, source in kernel.over]
    return [position for position in positions if args[position] in last and _is_free(memory, args[position])]


def _is_free(memory: list[Any], slot: int) -> bool:
    """Whether only `memory` references an array, so that it can be overwritten.

    A view references its base array, a caller its inputs, a plan its constants.
    """
    if _holders(memory, slot) != _ALONE:
        return False
    flags = memory[slot].flags  # references the array too
    return bool(flags.owndata and flags.c_contiguous and flags.writeable)


def _holders(memory: list[Any], slot: int) -> int:
    """Return the reference count of the object in a slot, including the references of this call."""
    return sys.getrefcount(memory[slot])


_ALONE = _holders([np.empty(0)], 0)
