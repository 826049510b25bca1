"""What a workload of the engine is: a program and a request for gradd, and the same work by other libraries.

Every file of `benchmarks/workloads/` has one workload: a function that makes its `Case` at a size. `CATALOGUE` in that
package lists them, with sizes for tests and targets.
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
"""Does the work once and returns its results, ready to be read."""
Prepare = Callable[[], Run]
"""Imports what a contestant needs, hands it the values, compiles nothing that the first run would not."""
Place = tuple[str, ...]

LIMITS = Limits(bytes=2**36)


@dataclass(frozen=True)
class Case:
    """The work at one size, by every contestant.

    `answers` are the places of gradd's results in the order in which all contestants return them, such as
    ("outputs", "loss") and ("gradients", "w"). `gradd` stands for a contestant other than "the request, compiled once".
    """

    program: Program
    request: Request
    values: Mapping[str, Array]
    answers: tuple[Place, ...]
    peers: Mapping[str, Prepare]
    gradd: Prepare | None = None

    @property
    def contestants(self) -> dict[str, Prepare]:
        """Return who does the work, by name, gradd first."""
        return {"gradd": self.gradd or by_gradd(self.program, self.request, self.values, self.answers), **self.peers}


@dataclass(frozen=True)
class Workload:
    """A case at its full size and at one for tests, and what its figures are held against.

    `rtol` bounds how far results may differ, relative to the largest element of each. `note` says what bounds a time
    that misses its target, `memory_note` a peak.
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
    """Return gradd as a contestant: compiled once, then run."""

    def prepare() -> Run:
        compiled = compile_request(program, request, LIMITS)
        given = {("tensors", name): value for name, value in values.items()}
        return lambda: picked(compiled.run(given), answers)

    return prepare


def picked(results: Mapping[str, Any], answers: Sequence[Place]) -> list[Any]:
    """Return the results at `answers`."""
    found = []
    for place in answers:
        value: Any = results
        for name in place:
            value = value[name]
        found.append(value)
    return found


def call(op: str, *inputs: Any, output: str, **attributes: Any) -> OpCall:
    """Return a call of an op: strings among the inputs are names, lists are lists of them."""
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
    """Return the program of `calls` on tensors of the types of `values`; those in `wrt` require grad."""
    leaves = {name: Leaf(DTYPES[value.dtype.name], value.shape, name in wrt) for name, value in values.items()}
    return Program(leaves, tuple(calls), DTYPES[dtype])


def value_and_gradients(wrt: Sequence[str]) -> tuple[Place, ...]:
    """Return the answers of most workloads: the loss, then its gradients."""
    return (("outputs", "loss"), *(("gradients", name) for name in wrt))


def normal(seed: int, dtype: str = "float64") -> Callable[..., Array]:
    """Return a function that draws standard normal numbers of a shape, times `scale`."""
    rng = np.random.default_rng(seed)
    return lambda *shape, scale=1.0: np.asarray(rng.standard_normal(shape) * scale, dtype)
