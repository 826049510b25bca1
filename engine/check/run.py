"""A compiled gradient check and its execution: the gradients, and the function with moved elements of its inputs.

Elements of an input are moved in batches: a plan takes a batch of directions and returns the function's values.
`engine.check.compile` makes checks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from engine.check.complex_step import TINY, ComplexStep, NotAnalyticError
from engine.check.differences import Probe, Tolerance, judged, judged_along, judged_exactly
from engine.compile.compiled import SEED, Array, Compiled, UnitVectors
from engine.compile.derivatives.gradients import GradientRequest
from engine.errors import DeadlineExceeded, ValueFault
from engine.execute.executor import Executable
from engine.graph.types import Shape, float64, numel
from engine.plan.plan import Plan, Source

METHODS = ("central differences", "complex step")
"""The methods of the check."""

STEPS = (1.0, 2.0**-5, 2.0**-10)
"""Steps as fractions of the first step. The finer steps are used if the first step does not give agreement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRequest(GradientRequest):
    """Whether gradients agree with differences of the roots' values.

    `eps` is the step of the differences (None: a step for each element). A gradient and a difference agree if they
    differ by at most `atol` plus `rtol` times the larger of the two.
    """

    eps: float | None = None
    rtol: float = 1e-5
    atol: float = 1e-7
    searches: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Moved:
    """One input: the plan of the function with moved elements, in batches, its executable and its complex step."""

    name: str
    plan: Plan
    executable: Executable = field(repr=False, compare=False)
    shape: Shape
    count: int
    chunk: int
    complex: ComplexStep | None = None

    def unit_vectors(self, numbers: Array) -> UnitVectors:
        """Return one direction for each of the elements `numbers`."""
        colours = np.full(numel(self.shape), -1)
        colours[numbers] = np.arange(len(numbers))
        return UnitVectors(("moved", self.name), self.shape, float64, len(numbers), self.chunk, colours)


@dataclass(frozen=True, slots=True)
class Check:
    """A compiled check. It holds no values; several threads can run it at once."""

    gradients: Compiled
    moved: tuple[Moved, ...]
    request: CheckRequest
    unit: float
    wide: bool

    @property
    def dag(self) -> dict[str, Any]:
        """The serialized DAG."""
        return self.gradients.dag

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings of the request of gradients."""
        return self.gradients.warnings

    @property
    def peak_bytes(self) -> int:
        """A bound on the peak memory of a run."""
        return max([self.gradients.peak_bytes, *(moved.plan.peak_bytes for moved in self.moved)])

    def run(self, values: Mapping[Source, Any], *, seed: int = 0, deadline: float | None = None) -> dict[str, Any]:
        """Return {"passed", "finite", "inputs": reports by name, "dot_product"}, all plain data.

        "finite" is true if the function's value is finite.

        `values` are the values of `Compiled.run`. `seed` also determines the moved elements and the directions of the
        dot product.
        """
        rng = np.random.default_rng(abs(seed))
        wide = {source: _widened(array) for source, array in values.items()} if self.wide else dict(values)
        drawn = {("drawn", moved.name): rng.standard_normal(moved.shape) for moved in self.moved}
        found = self.gradients.run({**wide, **drawn}, seed=seed, deadline=deadline)
        given = {**wide, SEED: np.int64(seed)}
        inputs = {
            moved.name: _Comparison(self, moved, found, given, deadline).report(_chosen(moved, rng), _signs(moved, rng))
            for moved in self.moved
        }
        product = _dot_product(found, drawn, self.unit)
        finite = bool(np.isfinite(found["function"]["value"]).all())
        passed = finite and product["passed"] and all(report["passed"] for report in inputs.values())
        return {"passed": passed, "finite": finite, "inputs": inputs, "dot_product": product}


def _widened(array: Any) -> Array:
    values = np.asarray(array)
    return values.astype(np.float64) if values.dtype.kind == "f" else values


def _chosen(moved: Moved, rng: np.random.Generator) -> Array:
    """Return the numbers of the moved elements, ascending."""
    size = numel(moved.shape)
    return np.arange(size) if moved.count >= size else np.sort(rng.choice(size, moved.count, replace=False))


def _signs(moved: Moved, rng: np.random.Generator) -> Array:
    """Return a direction of random signs: every element is moved, up or down."""
    return rng.choice((-1.0, 1.0), moved.shape)


@dataclass(frozen=True, slots=True)
class _Comparison:
    """The comparison of one input's gradient with derivatives."""

    check: Check
    moved: Moved
    found: Mapping[str, Any]
    given: Mapping[Source, Any]
    deadline: float | None

    def report(self, numbers: Array, signs: Array) -> dict[str, Any]:
        """Return the report on the elements `numbers`, and on all elements along the direction `signs`."""
        return self._by_complex_steps(numbers, signs) or self._by_differences(numbers)

    @property
    def _tolerance(self) -> Tolerance:
        return Tolerance(self.check.request.rtol, self.check.request.atol, self.check.unit)

    def _elements(self, group: str) -> Array:
        """Return a group's tensor with its elements on one axis: (*lead, elements)."""
        return np.reshape(self.found[group][self.moved.name], (*self.check.gradients.lead, numel(self.moved.shape)))

    def _function(self, part: str) -> Array:
        return np.asarray(self.found["function"][part])[..., None]

    def _by_complex_steps(self, numbers: Array, signs: Array) -> dict[str, Any] | None:
        """Return the report if complex steps are possible and agree, or None."""
        stepping, finite = self.moved.complex, np.isfinite(self._function("value")).all()
        if stepping is None or self.check.request.eps is not None or not finite:
            return None

        def run(source: Source, batch: Array) -> Array:
            return stepping.derivatives({**self.given, source: batch}, self.deadline) / TINY

        gradient, steps = self._elements("gradients"), self._elements("steps")
        try:
            found = self._all(1j * TINY, numbers, run) / steps[..., numbers]
            verdict = judged_exactly(gradient[..., numbers], found, self._tolerance)
            if verdict.status.any():
                return None
            along = np.zeros((self.moved.chunk, *self.moved.shape), complex)
            along[0] = signs * 1j * TINY
            slope = run(("moved", self.moved.name), along)[..., 0]
        except NotAnalyticError:
            return None
        direction = judged_along(gradient * signs.ravel(), steps, slope, self._tolerance)
        report = verdict.report(numbers, self.moved.shape, self.check.gradients.lead)
        passed = report["passed"] and direction["passed"]
        return {"method": METHODS[1], **report, "passed": passed, "direction": direction}

    def _by_differences(self, numbers: Array) -> dict[str, Any]:
        gradient, steps = (self._elements(group)[..., numbers] for group in ("gradients", "steps"))
        at, magnitude = self._function("value"), self._function("magnitude")
        probes = [self._probe(STEPS[0], numbers, steps)]
        verdict = judged(gradient, at, magnitude, probes, self._tolerance)
        if verdict.status.any():
            probes += [self._probe(scale, numbers, steps) for scale in STEPS[1:]]
            verdict = judged(gradient, at, magnitude, probes, self._tolerance)
        report = verdict.report(numbers, self.moved.shape, self.check.gradients.lead)
        return {"method": METHODS[0], **report, "direction": None}

    def _probe(self, scale: float, numbers: Array, steps: Array) -> Probe:
        below2, below, above, above2 = (self._values(part * scale, numbers) for part in (-2.0, -1.0, 1.0, 2.0))
        return Probe(steps * scale, (below2, below, above, above2))

    def _values(self, offset: float, numbers: Array) -> Array:
        """Return the function's values with each element moved by `offset` steps: (*lead, elements)."""
        return self._all(offset, numbers, self._evaluated)

    def _all(self, offset: complex, numbers: Array, run: Callable[[Source, Array], Array]) -> Array:
        """Return the result of `run` for each element moved by `offset` steps, batch by batch."""
        vectors = self.moved.unit_vectors(numbers)
        found = [run(vectors.source, batch * offset) for batch in vectors.batches()]
        none = np.zeros((*self.check.gradients.lead, 0))
        return np.concatenate([none, *found], axis=-1)[..., : len(numbers)]

    def _evaluated(self, source: Source, batch: Array) -> Array:
        """Return the values for a batch of directions: NaN for directions that an op rejects."""
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise DeadlineExceeded("the deadline passed between two differences")
        try:
            (values,) = self.moved.executable.run({**self.given, source: batch}, deadline=self.deadline)
        except ValueFault:
            inside = np.flatnonzero(batch.reshape(len(batch), -1).any(axis=1))
            if len(inside) < 2:
                return np.full((*self.check.gradients.lead, len(batch)), np.nan)
            half = inside[len(inside) // 2]
            first, second = batch.copy(), batch.copy()
            first[half:], second[:half] = 0, 0
            parts = [self._evaluated(source, part) for part in (first, second)]
            return np.concatenate([parts[0][..., :half], parts[1][..., half:]], axis=-1)
        return np.asarray(values)


def _dot_product(found: Mapping[str, Any], drawn: Mapping[Source, Array], unit: float) -> dict[str, Any]:
    """Return whether the tangent along the random directions equals their product with the gradients.

    The tolerance is the rounding error of the products and of the function, because gradients can cancel.
    """
    with np.errstate(all="ignore"):
        products = [np.asarray(gradient) * drawn["drawn", name] for name, gradient in found["gradients"].items()]
        tangent = float(np.sum(found["function"]["tangent"]))
        cotangent = float(sum(product.sum() for product in products))
        scale = float(np.sum(found["function"]["magnitude"])) + float(sum(np.abs(each).sum() for each in products))
    difference = abs(tangent - cotangent)
    return {
        "passed": bool(difference <= 1e5 * unit * scale),
        "tangent": tangent,
        "cotangent": cotangent,
        "difference": difference,
    }
