"""From a program and a request to something that runs: the engine's front door.

`compile` checks and types the program, adds the derivatives that the request asks for, maps them where vmap says so,
and plans the result. What it returns holds no values: it can be cached by structure, shapes and dtypes.
"""

from __future__ import annotations

from functools import partial

from engine.compile.compiled import Compiled
from engine.compile.derivation import Derivation
from engine.compile.request import Request
from engine.execute.executor import Executor
from engine.execute.numpy.runner import numpy_executor
from engine.graph.limits import Limits
from engine.program.program import Program


def compile(
    program: Program,
    request: Request,
    limits: Limits,
    deadline: float | None = None,
    executor: Executor = numpy_executor,
) -> Compiled:
    """Return the compiled request, to be run by the executables that `executor` makes.

    Raises GraphError with all faults found; their paths start at the request's root: ("graph", "ops", 3, "inputs", 1),
    ("wrt", 0). Raises DeadlineExceeded after `deadline`, a moment of `time.monotonic()`.
    """
    derivation, planned = derived(program, request, limits, deadline)
    derivation.check_memory(planned.peak_bytes)
    made = planned.executable(executor)
    derivation.release()
    return made


def derived(
    program: Program, request: Request, limits: Limits, deadline: float | None = None
) -> tuple[Derivation, Compiled]:
    """Return the compiled request, however much memory it takes, and the derivation that made it."""
    return request.derived(partial(Derivation, program, request, limits, deadline))
