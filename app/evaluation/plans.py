"""What a request becomes once the types of its tensors are known: a plan that answers every request like it.

`app.evaluation.operations` says which kind each call has; `app.evaluation.evaluator` makes, keeps and asks them. A plan
holds no values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from app.wire.reply import CachedText, Results
from app.wire.values import Array, Source
from engine import Check, CheckRequest, Compiled, Limits, Program, Request, compile_check, compile_request, estimate
from engine import explain as explain_program

Arrays = Mapping[Source, Array]
Options = Mapping[str, Any]


class CallPlan(Protocol):
    """What is kept of a request."""

    @property
    def dag(self) -> CachedText:
        """The DAG."""
        ...

    @property
    def warnings(self) -> Sequence[str]:
        """What the client should know besides."""
        ...

    @property
    def seeded(self) -> bool:
        """Whether random ops draw from the option `seed`."""
        ...

    @property
    def seconds(self) -> float:
        """How long a run is likely to take."""
        ...

    @property
    def results(self) -> Results:
        """The tensors of its replies."""
        ...

    @property
    def shown(self) -> Mapping[str, CachedText]:
        """The members that all of its replies share, besides the DAG."""
        ...

    def weight(self, ops: int) -> int:
        """Return a bound on the bytes that it keeps, of a request with so many ops and tensors."""
        ...

    def members(self, arrays: Arrays, options: Options, deadline: float | None) -> dict[str, Any]:
        """Return the other members of the reply, as `app.wire.reply` has them. Raises what the engine raises."""
        ...


_OP_BYTES, _STEP_BYTES = 2**10, 96
"""What a plan that runs keeps of an op or tensor, the DAG's text with it, and of a step. A test holds them."""

_CHECKED_OP_BYTES, _SHOWN_OP_BYTES = 6 * 2**10, 10 * 2**10
"""What is kept of an op or tensor of a plan that is checked, or shown."""

Planner = Callable[[Program, Request, Limits, float | None], CallPlan]


_NOTHING: Mapping[str, CachedText] = {}


@dataclass(frozen=True)
class Computation:
    """A plan that runs."""

    compiled: Compiled
    shown = _NOTHING

    @cached_property
    def results(self) -> Results:
        """The tensors of its replies, measured once a format."""
        return Results(self.compiled.results)

    @cached_property
    def dag(self) -> CachedText:
        """The DAG, which each codec writes once."""
        return CachedText(self.compiled.dag)

    @property
    def warnings(self) -> Sequence[str]:
        """What the engine noticed."""
        return self.compiled.warnings

    @property
    def seeded(self) -> bool:
        """Whether random ops draw from the seed."""
        return self.compiled.seeded

    @cached_property
    def seconds(self) -> float:
        """What the steps and their costs say, counted once."""
        return estimate(self.compiled).seconds

    def weight(self, ops: int) -> int:
        """Return a bound on the bytes that it keeps."""
        return _OP_BYTES * ops + _STEP_BYTES * self.compiled.steps

    def members(self, arrays: Arrays, options: Options, deadline: float | None) -> dict[str, Any]:
        """Run, and return the arrays of each group."""
        return dict(self.compiled.run(arrays, seed=options["seed"], deadline=deadline))


_LONG_S = 1e6
"""Seconds that stand for a run that nobody estimates."""


@dataclass(frozen=True)
class Comparison:
    """A plan that runs to hold gradients against differences."""

    check: Check
    results = Results()
    shown = _NOTHING

    @cached_property
    def dag(self) -> CachedText:
        """The DAG, which each codec writes once."""
        return CachedText(self.check.dag)

    @property
    def warnings(self) -> Sequence[str]:
        """What the engine noticed."""
        return self.check.warnings

    @property
    def seeded(self) -> bool:
        """Whether random ops of the gradients draw from the seed."""
        return self.check.gradients.seeded

    @property
    def seconds(self) -> float:
        """Long: the function runs twice for each element of each input."""
        return _LONG_S

    def weight(self, ops: int) -> int:
        """Return a bound on the bytes that it keeps."""
        return _CHECKED_OP_BYTES * ops

    def members(self, arrays: Arrays, options: Options, deadline: float | None) -> dict[str, Any]:
        """Run, and return what was found, plain data."""
        found = self.check.run(arrays, seed=options["seed"], deadline=deadline)
        return {name: _spelled(value) for name, value in found.items()}


def _spelled(value: Any) -> Any:
    """Return plain data with strings in place of numbers that are not finite."""
    if isinstance(value, dict):
        return {name: _spelled(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_spelled(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


@dataclass(frozen=True)
class Explanation:
    """A plan that is shown: what is to be said of it."""

    dag: CachedText
    warnings: Sequence[str]
    shown: Mapping[str, CachedText]
    seconds: float = 0.0
    results = Results()
    seeded: bool = False

    def weight(self, ops: int) -> int:
        """Return a bound on the bytes that it keeps."""
        return _SHOWN_OP_BYTES * ops

    def members(self, arrays: Arrays, options: Options, deadline: float | None) -> dict[str, Any]:  # noqa: ARG002
        """Return what is said. Nothing runs."""
        return dict(self.shown)


def compute(program: Program, request: Request, limits: Limits, deadline: float | None) -> CallPlan:
    """Plan a request to run it."""
    return Computation(compile_request(program, request, limits, deadline))


def check(program: Program, request: Request, limits: Limits, deadline: float | None) -> CallPlan:
    """Plan a request to check its gradients."""
    assert isinstance(request, CheckRequest)
    return Comparison(compile_check(program, request, limits, deadline))


def explain(program: Program, request: Request, limits: Limits, deadline: float | None) -> CallPlan:
    """Plan a request to show the plan."""
    found = explain_program(program, request, limits, deadline)
    warnings = found.pop("warnings")
    shown = {name: CachedText(value) for name, value in found.items()}
    return Explanation(shown.pop("dag"), warnings, shown)
