"""Gradient descent in NumPy. The server remembers nothing of a training: what an optimizer keeps, the client keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

Arrays = dict[str, np.ndarray]


class Optimizer(Protocol):
    """Anything that turns parameters and their gradients into better parameters."""

    def step(self, parameters: Arrays, gradients: Arrays) -> Arrays:
        """Return the parameters after one step."""
        ...


@dataclass
class Sgd:
    """Stochastic gradient descent, with momentum unless that is 0."""

    rate: float = 0.2
    momentum: float = 0.0
    velocity: Arrays = field(default_factory=dict)

    def step(self, parameters: Arrays, gradients: Arrays) -> Arrays:
        """v = momentum v + g; p = p - rate v."""
        for name, gradient in gradients.items():
            self.velocity[name] = self.momentum * self.velocity.get(name, 0.0) + gradient
        return {name: value - self.rate * self.velocity[name] for name, value in parameters.items()}


@dataclass
class Adam:
    """Steps of about `rate`, whatever the gradient's scale. Source: Kingma and Ba 2015, algorithm 1."""

    rate: float = 0.005
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    steps: int = 0
    mean: Arrays = field(default_factory=dict)
    square: Arrays = field(default_factory=dict)

    def step(self, parameters: Arrays, gradients: Arrays) -> Arrays:
        """Move by the mean gradient over the root of the mean square, both corrected for having begun at 0."""
        self.steps += 1
        for name, gradient in gradients.items():
            self.mean[name] = self.beta1 * self.mean.get(name, 0.0) + (1 - self.beta1) * gradient
            self.square[name] = self.beta2 * self.square.get(name, 0.0) + (1 - self.beta2) * gradient**2
        return {name: value - self.rate * self._direction(name) for name, value in parameters.items()}

    def _direction(self, name: str) -> np.ndarray:
        mean = self.mean[name] / (1 - self.beta1**self.steps)
        square = self.square[name] / (1 - self.beta2**self.steps)
        direction: np.ndarray = mean / (np.sqrt(square) + self.eps)
        return direction


OPTIMIZERS: dict[str, Callable[[], Optimizer]] = {
    "sgd": Sgd,
    "momentum": lambda: Sgd(rate=0.05, momentum=0.9),
    "adam": Adam,
}
"""What makes a fresh optimizer, by its name on the command line."""
