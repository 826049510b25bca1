"""Sample arguments of ops, for property tests and for the examples of the catalogue.

The decorator of an op lists its samples, in the order of its parameters. A `Draw` represents a tensor of random values.
All other values are literal. The first sample of an op is its example in the catalogue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from engine.graph.types import Shape


@dataclass(frozen=True, slots=True)
class Draw:
    """A random tensor: uniform in [low, high), or with the structure given by `kind`."""

    shape: Shape
    low: float = -2.0
    high: float = 2.0
    kind: Literal["real", "integer", "bool", "spd"] = "real"
    grad: bool = True

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Return random values: float64, int64 or bool."""
        if self.kind == "integer":
            return rng.integers(int(self.low), int(self.high), self.shape)
        if self.kind == "bool":
            return rng.random(self.shape) < 0.5
        values = rng.uniform(self.low, self.high, self.shape)
        if self.kind == "spd":  # well-conditioned, so that differences of inverses and factors are accurate
            n = self.shape[-1]
            return values @ np.swapaxes(values, -1, -2) / n + n * np.eye(n)
        return np.asarray(values)


@dataclass(frozen=True, slots=True)
class Sample:
    """One call of an op."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def sample(*args: Any, **kwargs: Any) -> Sample:
    """Return a call with these arguments."""
    return Sample(args, kwargs)


def real(*shape: int, low: float = -2.0, high: float = 2.0) -> Draw:
    """A real tensor, uniform in [low, high), that requires grad."""
    return Draw(shape, low, high)


def positive(*shape: int) -> Draw:
    """A real tensor in [0.3, 3)."""
    return Draw(shape, 0.3, 3.0)


def unit(*shape: int) -> Draw:
    """A real tensor in [0.1, 0.9)."""
    return Draw(shape, 0.1, 0.9)


def fixed(*shape: int, low: float = -2.0, high: float = 2.0) -> Draw:
    """A real tensor that does not require grad."""
    return Draw(shape, low, high, grad=False)


def integers(high: int, *shape: int, low: int = 0) -> Draw:
    """An int64 tensor in [low, high)."""
    return Draw(shape, low, high, "integer", grad=False)


def boolean(*shape: int) -> Draw:
    """A bool tensor."""
    return Draw(shape, kind="bool", grad=False)


def spd(*shape: int) -> Draw:
    """Symmetric positive definite matrices, well conditioned. `shape` is (*batch, n, n)."""
    return Draw(shape, kind="spd")
