"""The training loop: draw a batch, ask the server for the gradients, take a step. And how good the result is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from examples.digits.client import Client
from examples.digits.data import Digits
from examples.digits.models import Model, Parameters
from examples.digits.optimizers import Optimizer

BATCH_SIZE = 64


@dataclass(frozen=True)
class Step:
    """One step: the batch, the loss and its gradients at `parameters`, and the parameters after it, `improved`."""

    batch: Digits
    parameters: Parameters
    loss: float
    gradients: Parameters
    improved: Parameters


def batches(digits: Digits, epochs: int, rng: np.random.Generator) -> Iterator[Digits]:
    """Yield the digits batch by batch, each epoch in another order; the last batch of an epoch may be smaller."""
    for _ in range(epochs):
        order = rng.permutation(len(digits))
        for start in range(0, len(digits), BATCH_SIZE):
            yield digits[order[start : start + BATCH_SIZE]]


def batches_per_epoch(digits: Digits) -> int:
    """Return how many batches an epoch has."""
    return -(-len(digits) // BATCH_SIZE)


def train(
    client: Client, model: Model, parameters: Parameters, optimizer: Optimizer, data: Iterable[Digits]
) -> Iterator[Step]:
    """Yield every step from the initial parameters on, one for each batch of the data."""
    for batch in data:
        constants = {"images": batch.images, "labels": batch.labels}
        outputs, gradients = client.gradients(model.ops, parameters, constants)
        improved = optimizer.step(parameters, gradients)
        yield Step(batch, parameters, float(outputs["loss"]), gradients, improved)
        parameters = improved


def accuracy(client: Client, model: Model, parameters: Parameters, digits: Digits) -> float:
    """Return the share of the digits for which the largest logit is that of the label."""
    tensors = {**parameters, "images": digits.images, "labels": digits.labels}
    logits = client.forward(model.ops, tensors, ["logits"])["logits"]
    return float(np.mean(logits.argmax(axis=1) == digits.labels))
