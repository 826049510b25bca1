"""A workload of the engine: a program and a request for gradd, and the same work by other libraries.

Each module of `benchmarks/workloads/` defines workloads by functions that make a `Case` at a size. `CATALOGUE` in that
package lists the workloads, with sizes for tests and targets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import engine.ops  # noqa: F401  # registers the ops
from benchmarks.results import Target
from engine.compile.compile import compile as compile_request
from engine.compile.request import Request
from engine.graph.limits import Limits
from engine.graph.types import DTYPES
from engine.program.program import Argument, Leaf, OpCall, Program, Ref

Array = np.ndarray[Any, Any]
Run = Callable[[], Sequence[Any]]
"""Does the work once and returns its results as values that can be read."""
Prepare = Callable[[], Run]
"""Imports a contestant's library and passes it the values. Compiles no more than the first run would."""
Place = tuple[str, ...]

LIMITS = Limits(bytes=2**36)


@dataclass(frozen=True)
class Case:
    """The work at one size, by every contestant.

    `answers` are the locations of gradd's results in the order of all contestants' results, such as ("outputs", "loss")
    and ("gradients", "w"). `gradd` replaces the default contestant, which compiles the request once.
    """

    program: Program
    request: Request
    values: Mapping[str, Array]
    answers: tuple[Place, ...]
    peers: Mapping[str, Prepare]
    gradd: Prepare | None = None

    @property
    def contestants(self) -> dict[str, Prepare]:
        """Return the contestants by name, gradd first."""
        return {"gradd": self.gradd or by_gradd(self.program, self.request, self.values, self.answers), **self.peers}


@dataclass(frozen=True)
class Workload:
    """A case at its full size and at its test size, and the targets of its figures.

    `rtol` bounds the difference of results, relative to the largest element of each. `note` explains a time that misses
    its target, `memory_note` a peak that misses its target.
    """

    name: str
    work: str
    case: Callable[..., Case]
    small: Mapping[str, int] = field(default_factory=dict)
    full: Mapping[str, int] = field(default_factory=dict)
    time: tuple[Target, ...] = ()
    memory: tuple[Target, ...] = (Target(1.2, ("torch",)),)
    rtol: float = 1e-9
    note: str = ""
    memory_note: str = ""


def by_gradd(program: Program, request: Request, values: Mapping[str, Array], answers: Sequence[Place]) -> Prepare:
    """Return gradd as a contestant: the request is compiled once, then run."""

    def prepare() -> Run:
        compiled = compile_request(program, request, LIMITS)
        given = {("tensors", name): value for name, value in values.items()}
        return lambda: picked(compiled.run(given), answers)

    return prepare


def picked(results: Mapping[str, Any], answers: Sequence[Place]) -> list[Any]:
    """Return the results at the locations `answers`."""
    found = []
    for place in answers:
        value: Any = results
        for name in place:
            value = value[name]
        found.append(value)
    return found


def call(op: str, *inputs: Any, output: str, **attributes: Any) -> OpCall:
    """Return a call of an op. Strings among the inputs are names; lists are lists of names."""
    return OpCall(op, tuple(map(_argument, inputs)), attributes, output)


def _argument(value: Any) -> Argument:
    if isinstance(value, str):
        return Ref(value)
    if isinstance(value, list):
        return tuple(map(_argument, value))
    argument: Argument = value
    return argument


def program(
    values: Mapping[str, Array], wrt: Sequence[str], calls: Sequence[OpCall], dtype: str = "float64"
) -> Program:
    """Return the program of `calls` on tensors with the types of `values`. The tensors in `wrt` require grad."""
    leaves = {name: Leaf(DTYPES[value.dtype.name], value.shape, name in wrt) for name, value in values.items()}
    return Program(leaves, tuple(calls), DTYPES[dtype])


def value_and_gradients(wrt: Sequence[str]) -> tuple[Place, ...]:
    """Return the locations of most workloads' results: the loss, then its gradients."""
    return (("outputs", "loss"), *(("gradients", name) for name in wrt))


def normal(seed: int, dtype: str = "float64") -> Callable[..., Array]:
    """Return a function that draws standard normal numbers of a given shape, times `scale`."""
    rng = np.random.default_rng(seed)
    return lambda *shape, scale=1.0: np.asarray(rng.standard_normal(shape) * scale, dtype)
