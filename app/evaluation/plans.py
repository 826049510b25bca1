"""Plans of requests: a plan answers all requests with the same structure and the same tensor types.

`app.evaluation.operations` selects the kind of plan of each operation. `app.evaluation.evaluator` makes, caches and
calls the plans. A plan contains no values.
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
    """The cached plan of a request."""

    @property
    def dag(self) -> CachedText:
        """The DAG."""
        ...

    @property
    def warnings(self) -> Sequence[str]:
        """Warnings for the client, known from the plan."""
        ...

    @property
    def seeded(self) -> bool:
        """Whether random ops draw from the option `seed`."""
        ...

    @property
    def seconds(self) -> float:
        """Predicted seconds of a run."""
        ...

    @property
    def results(self) -> Results:
        """The tensors of the reply."""
        ...

    @property
    def shown(self) -> Mapping[str, CachedText]:
        """Members that are the same in every reply, except the DAG."""
        ...

    def weight(self, ops: int) -> int:
        """Return an upper bound on the bytes of the plan. `ops` is the number of ops and tensors of the request."""
        ...

    def members(self, arrays: Arrays, options: Options, deadline: float | None) -> dict[str, Any]:
        """Return the other members of the reply in the form of `app.wire.reply`. Raises the engine's errors."""
        ...


_OP_BYTES, _STEP_BYTES = 2**10, 96
"""Bytes that a plan that runs needs for each op or tensor, including its DAG text, and for each step. Tested."""

_CHECKED_OP_BYTES, _SHOWN_OP_BYTES = 6 * 2**10, 10 * 2**10
"""Bytes for each op or tensor of a plan that is checked, or explained."""

Planner = Callable[[Program, Request, Limits, float | None], CallPlan]


_NOTHING: Mapping[str, CachedText] = {}


@dataclass(frozen=True)
class Computation:
    """A plan that runs."""

    compiled: Compiled
    shown = _NOTHING

    @cached_property
    def results(self) -> Results:
        """The tensors of the reply; their size is computed once for each format."""
        return Results(self.compiled.results)

    @cached_property
    def dag(self) -> CachedText:
        """The DAG. Each codec encodes it once."""
        return CachedText(self.compiled.dag)

    @property
    def warnings(self) -> Sequence[str]:
        """Warnings of the engine."""
        return self.compiled.warnings

    @property
    def seeded(self) -> bool:
        """Whether random ops draw from the option `seed`."""
        return self.compiled.seeded

    @cached_property
    def seconds(self) -> float:
        """Predicted seconds of a run, from the cost of each step; computed once."""
        return estimate(self.compiled).seconds

    def weight(self, ops: int) -> int:
        """Return an upper bound on the bytes of the plan."""
        return _OP_BYTES * ops + _STEP_BYTES * self.compiled.steps

    def members(self, arrays: Arrays, options: Options, deadline: float | None) -> dict[str, Any]:
        """Run the plan and return the arrays of each group."""
        return dict(self.compiled.run(arrays, seed=options["seed"], deadline=deadline))


_LONG_S = 1e6
"""Predicted seconds of a run without an estimate."""


@dataclass(frozen=True)
class Comparison:
    """A plan that compares gradients with differences of values."""

    check: Check
    results = Results()
    shown = _NOTHING

    @cached_property
    def dag(self) -> CachedText:
        """The DAG. Each codec encodes it once."""
        return CachedText(self.check.dag)

    @property
    def warnings(self) -> Sequence[str]:
        """Warnings of the engine."""
        return self.check.warnings

    @property
    def seeded(self) -> bool:
        """Whether random ops of the gradients draw from the option `seed`."""
        return self.check.gradients.seeded

    @property
    def seconds(self) -> float:
        """The predicted seconds of a check: a large constant, because it runs the function for each element."""
        return _LONG_S

    def weight(self, ops: int) -> int:
        """Return an upper bound on the bytes of the plan."""
        return _CHECKED_OP_BYTES * ops

    def members(self, arrays: Arrays, options: Options, deadline: float | None) -> dict[str, Any]:
        """Run the comparison and return its results as plain data."""
        found = self.check.run(arrays, seed=options["seed"], deadline=deadline)
        return {name: _spelled(value) for name, value in found.items()}


def _spelled(value: Any) -> Any:
    """Return plain data in which strings replace numbers that are not finite."""
    if isinstance(value, dict):
        return {name: _spelled(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_spelled(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


@dataclass(frozen=True)
class Explanation:
    """A plan that is described and not run."""

    dag: CachedText
    warnings: Sequence[str]
    shown: Mapping[str, CachedText]
    seconds: float = 0.0
    results = Results()
    seeded: bool = False

    def weight(self, ops: int) -> int:
        """Return an upper bound on the bytes of the plan."""
        return _SHOWN_OP_BYTES * ops

    def members(self, arrays: Arrays, options: Options, deadline: float | None) -> dict[str, Any]:  # noqa: ARG002
        """Return the description of the plan. Nothing runs."""
        return dict(self.shown)


def compute(program: Program, request: Request, limits: Limits, deadline: float | None) -> CallPlan:
    """Return a plan that runs the request."""
    return Computation(compile_request(program, request, limits, deadline))


def check(program: Program, request: Request, limits: Limits, deadline: float | None) -> CallPlan:
    """Return a plan that checks the gradients of the request."""
    assert isinstance(request, CheckRequest)
    return Comparison(compile_check(program, request, limits, deadline))


def explain(program: Program, request: Request, limits: Limits, deadline: float | None) -> CallPlan:
    """Return a plan that describes the request's plan."""
    found = explain_program(program, request, limits, deadline)
    warnings = found.pop("warnings")
    shown = {name: CachedText(value) for name, value in found.items()}
    return Explanation(shown.pop("dag"), warnings, shown)
