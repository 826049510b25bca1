"""Run a plan's steps with NumPy, one after the other, on the thread that calls."""

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
"""Memory up to which a plan is over so soon that nobody need look at the clock while it runs."""

WARM = 4
"""Runs after which a small plan is made into straight-line code: making it costs about as much as that many runs."""


keep_freed()
claim_blas()


class _Quiet(threading.local):
    """Each thread's context in which NumPy warns of nothing: entering it takes a tenth of what np.errstate takes."""

    def __init__(self) -> None:
        context = contextvars.Context()
        context.run(np.seterr, all="ignore")
        self.run = context.run


_QUIET = _Quiet()


@dataclass(slots=True)
class Runner:
    """Runs a plan; one that is small and run again becomes straight-line code. Several threads may call it."""

    plan: Plan
    _runs: int = 0
    _straight: StraightLine | None = field(default=None, repr=False)

    def run(self, values: Mapping[Source, Any], *, deadline: float | None = None) -> list[Any]:
        """Return the plan's outputs as arrays.

        `values` has an array for every input. `deadline` is a moment of `time.monotonic()`, looked at between steps.
        Raises ValueFault where an op refuses a value.
        """
        given = [values[source] for source, _ in self.plan.inputs]
        if self._straight is not None:
            try:
                return _QUIET.run(self._straight, given)
            except OpError:
                pass  # the walk below meets it again, and knows where
        self._warm()
        with computing():
            return _QUIET.run(_walk, self.plan, given, deadline)

    def _warm(self) -> None:
        plan = self.plan
        self._runs += 1
        if self._runs == WARM and plan.peak_bytes <= SMALL_BYTES and plan.code.count <= MOST_STEPS:
            self._straight = straight_line(plan)


def numpy_executor(plan: Plan) -> Runner:
    """Return what runs a plan with NumPy."""
    return Runner(plan.settled())


def _walk(plan: Plan, given: Sequence[Any], deadline: float | None) -> list[Any]:
    """Run step by step."""
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
    """Return where the request names the op whose kernel raised the error in a step; in a cluster its node is known."""
    origin = error.node.origin if isinstance(error.node, Node) else plan.origins[number]
    return () if origin is None or origin < 0 else ("graph", "ops", origin)


def _take(step: Step, memory: list[Any]) -> None:
    """Run a step. Nothing but `memory` holds arrays behind it, so that those let go of are free."""
    (kernel, extra, params), args, results, dead = step
    if type(kernel) is Blocked and kernel.over:
        free = _free(kernel, step, memory)  # before the arrays are held by the call
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
    """Return the places of a cluster's inputs that it may write over: nobody reads them after it."""
    _, args, results, dead = step
    last = {*dead, *(() if isinstance(results, int) else results)}
    places = [source for _, source in kernel.over]
    return [place for place in places if args[place] in last and _is_free(memory, args[place])]


def _is_free(memory: list[Any], slot: int) -> bool:
    """Whether nobody but `memory` holds an array or a view of it, so that it can be written over.

    A view holds the array that it looks at, a caller his inputs, a plan its constants.
    """
    if _holders(memory, slot) != _ALONE:
        return False
    flags = memory[slot].flags  # which hold the array too
    return bool(flags.owndata and flags.c_contiguous and flags.writeable)


def _holders(memory: list[Any], slot: int) -> int:
    """Return how many references there are to what is in a slot, as this interpreter counts its own."""
    return sys.getrefcount(memory[slot])


_ALONE = _holders([np.empty(0)], 0)
