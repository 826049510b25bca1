"""The engine's entry point: compile a program and a request. The package `engine` exports it as `compile_request`.

`compile` checks and types the program, adds the derivatives of the request, batches them over vmap's axis, and plans
the result. The result holds no values: it can be cached by structure, shapes and dtypes. `engine.compile.explain`
calls `derived`.
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
    """Return the compiled request, with executables from `executor`.

    Raises GraphError with all faults found. Their paths start at the request's root: ("graph", "ops", 3, "inputs", 1),
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
    """Return the derivation and the compiled request. The memory limit is not checked."""
    return request.derived(partial(Derivation, program, request, limits, deadline))
