"""Comparison of a gradient with finite differences, element by element. `engine.check.run` calls it.

Central differences of fourth order are computed at several steps. The step with the smallest uncertainty decides each
element. If the left and right differences disagree, the function has a kink, and any slope between them is accepted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

AGREES, FAILS, KINK, UNRESOLVED = range(4)
"""The status of an element. UNRESOLVED: the values near it are not finite or too rough for a verdict."""

MOST_KINKS = 8
"""The maximum number of listed kinks. All kinks are counted."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The allowed difference of two derivatives. `unit` is the rounding error of the narrowest dtype in the graph."""

    rtol: float
    atol: float
    unit: float

    @property
    def floor(self) -> float:
        """The magnitude below which `atol` allows more than `rtol`. Relative differences use at least this value."""
        return (self.atol / self.rtol if self.rtol else 0.0) or 1.0

    def of(self, *derivatives: Array) -> Array:
        """Return the allowed difference between derivatives."""
        largest: Array = np.maximum.reduce([np.abs(derivative) for derivative in derivatives])
        return self.atol + self.rtol * largest


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """Values of the function at x - 2 step, x - step, x + step and x + 2 step."""

    step: Array
    values: tuple[Array, Array, Array, Array]

    def central(self) -> Array:
        """Return the central difference of fourth order."""
        below2, below, above, above2 = self.values
        difference: Array = (8 * (above - below) - (above2 - below2)) / (12 * self.step)
        return difference

    def uncertainty(self, at: Array, magnitude: Array, unit: float) -> Array:
        """Return an estimate of the difference's error: the difference to second order, and rounding.

        If one side is not finite, the estimate is for the one-sided difference of the other side.
        """
        _, below, above, _ = self.values
        left, right = self.sides(at)
        spread = np.abs(self.central() - (above - below) / (2 * self.step))
        one_sided = np.fmin(np.abs(left - (at - below) / self.step), np.abs(right - (above - at) / self.step))
        error: Array = np.where(np.isfinite(spread), spread, np.nan_to_num(one_sided, nan=np.inf))
        return error + 2 * unit * magnitude / self.step

    def sides(self, at: Array) -> tuple[Array, Array]:
        """Return the left and right differences, of second order."""
        below2, below, above, above2 = self.values
        return (3 * at - 4 * below + below2) / (2 * self.step), (4 * above - above2 - 3 * at) / (2 * self.step)

    def diverges(self, at: Array) -> Array:
        """Return where a one-sided difference grows as its step falls: a jump, or an infinite slope."""
        below2, below, above, above2 = self.values
        left = np.abs(at - below) > 1.3 * np.abs(at - below2) / 2
        right = np.abs(above - at) > 1.3 * np.abs(above2 - at) / 2
        found: Array = left | right
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """The verdict on each element: arrays, (*lead, elements), of its status and the compared derivatives."""

    status: Array
    gradient: Array
    numeric: Array
    left: Array
    right: Array
    tolerance: Tolerance

    def report(self, numbers: Array, shape: tuple[int, ...], lead: tuple[int, ...]) -> dict[str, Any]:
        """Return the verdict as plain data. `numbers` are the elements' numbers in a tensor of shape lead + shape.

        An input does not pass if all its elements are unresolved.
        """
        flat = _Flat(self, numbers, shape, lead)
        compared = np.flatnonzero((self.status == AGREES) | (self.status == FAILS))
        kinks = np.flatnonzero(self.status == KINK)
        with np.errstate(all="ignore"):
            difference = np.nan_to_num(np.abs(self.gradient - self.numeric), nan=np.inf).ravel()
            largest = np.fmax(np.abs(self.gradient), np.abs(self.numeric)).ravel()
            relative = np.where(np.isinf(difference), np.inf, difference / np.fmax(largest, self.tolerance.floor))
        failed, unresolved = (int((self.status == status).sum()) for status in (FAILS, UNRESOLVED))
        return {
            "passed": not failed and (unresolved < self.status.size or not self.status.size),
            "elements": int(np.prod((*lead, *shape))),
            "checked": int(self.status.size),
            "failed": failed,
            "kinks": len(kinks),
            "unresolved": unresolved,
            "largest_absolute": flat.worst(difference, compared),
            "largest_relative": flat.worst(relative, compared),
            "at_kinks": [flat.kink(place) for place in kinks[:MOST_KINKS].tolist()],
        }


@dataclass(frozen=True, slots=True)
class _Flat:
    """Elements by their flat position in a verdict's arrays."""

    verdict: Verdict
    numbers: Array
    shape: tuple[int, ...]
    lead: tuple[int, ...]

    def index(self, place: int) -> list[int]:
        """Return the index of an element in the tensor of lead + shape."""
        before, number = divmod(place, len(self.numbers))
        return [
            *map(int, np.unravel_index(before, self.lead)),
            *map(int, np.unravel_index(int(self.numbers[number]), self.shape)),
        ]

    def worst(self, difference: Array, compared: Array) -> dict[str, Any] | None:
        """Return the largest of the compared differences, and its index."""
        if not compared.size:
            return None
        place = int(compared[difference[compared].argmax()])
        found = self.verdict
        return {
            "difference": float(difference[place]),
            "index": self.index(place),
            "gradient": float(found.gradient.flat[place]),
            "numeric": float(found.numeric.flat[place]),
        }

    def kink(self, place: int) -> dict[str, Any]:
        """Return a kink's slopes."""
        found = self.verdict
        return {
            "index": self.index(place),
            "gradient": float(found.gradient.flat[place]),
            "left": float(found.left.flat[place]),
            "right": float(found.right.flat[place]),
        }


def judged(gradient: Array, at: Array, magnitude: Array, probes: Sequence[Probe], tolerance: Tolerance) -> Verdict:
    """Return the verdict on a gradient.

    `at` is the function's value. `magnitude` is the sum of its terms' magnitudes: rounding errors are relative to it.
    All arrays broadcast to (*lead, elements).
    """
    with np.errstate(all="ignore"):
        every = np.stack([probe.uncertainty(at, magnitude, tolerance.unit) for probe in probes])
        best = every.argmin(axis=0)[None]

        def chosen(found: Sequence[Array]) -> Array:
            along: Array = np.take_along_axis(np.stack(found), best, 0)[0]
            return along

        error = chosen([*every])
        central = chosen([probe.central() for probe in probes])
        left, right = (chosen([probe.sides(at)[side] for probe in probes]) for side in (0, 1))
        diverging = chosen([probe.diverges(at) for probe in probes])
        noise = 4 * error
        agrees = np.abs(gradient - central) <= tolerance.of(gradient, central) + noise
        steepest = np.maximum(np.abs(left), np.abs(right))
        resolved = error <= tolerance.atol + 0.1 * steepest
        bent = np.abs(left - right) > tolerance.atol + 1e-3 * steepest + noise
        edge = np.isfinite(left) ^ np.isfinite(right)
        numeric = np.where(edge, np.where(np.isfinite(left), left, right), central)
        kink = _allowed(gradient, left, right, tolerance) & bent
        kink |= edge | (diverging & ~resolved)
        silent = ~np.isfinite(left) & ~np.isfinite(right)
        status = np.select(
            [
                ~np.isfinite(at) | np.isnan(gradient),
                agrees & ~bent & (resolved | (gradient == central)),
                kink,
                silent | (agrees & ~resolved),
                agrees,
            ],
            [FAILS, AGREES, KINK, UNRESOLVED, AGREES],
            FAILS,
        )
    return Verdict(status, gradient, numeric, left, right, tolerance)


def judged_exactly(gradient: Array, derivative: Array, tolerance: Tolerance) -> Verdict:
    """Return the verdict on a gradient against exact derivatives."""
    with np.errstate(all="ignore"):
        agrees = np.isfinite(gradient) & (np.abs(gradient - derivative) <= tolerance.of(gradient, derivative))
    return Verdict(np.where(agrees, AGREES, FAILS), gradient, derivative, derivative, derivative, tolerance)


def judged_along(gradient: Array, steps: Array, slope: Array, tolerance: Tolerance) -> dict[str, Any]:
    """Return the verdict on a whole gradient from the function's slope along `steps`.

    `steps` has shape (*lead, elements), `slope` (*lead). Errors within the tolerance add as errors of random signs: by
    the root of the sum of squares. One wrong element among a million is found.
    """
    with np.errstate(all="ignore"):
        terms = gradient * steps
        allowed = np.sqrt(np.sum((steps * tolerance.of(gradient)) ** 2, axis=-1))
        allowed = allowed + 1e3 * tolerance.unit * np.abs(terms).sum(axis=-1)
        expected = terms.sum(axis=-1)
        difference = np.abs(expected - slope)
    passed = bool((difference <= allowed).all())
    if not difference.size:
        return {"passed": passed, "difference": 0.0, "gradient": 0.0, "numeric": 0.0}
    worst = int(np.argmax(difference - allowed))
    return {
        "passed": passed,
        "difference": float(difference.flat[worst]),
        "gradient": float(expected.flat[worst]),
        "numeric": float(slope.flat[worst]),
    }


def _allowed(gradient: Array, left: Array, right: Array, tolerance: Tolerance) -> Array:
    """Return where the gradient lies between the slopes on both sides, or equals one of them."""
    slack = tolerance.of(left, right) + 1e-3 * np.abs(left - right)
    inside: Array = (gradient >= np.minimum(left, right) - slack) & (gradient <= np.maximum(left, right) + slack)
    return inside
