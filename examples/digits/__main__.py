"""The command line: `python -m examples.digits --model conv --plot loss.png`, with a server running (`make run`)."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import httpx
import numpy as np
from tqdm import tqdm

from examples.digits import data, plot
from examples.digits.client import Client
from examples.digits.models import MODELS
from examples.digits.optimizers import OPTIMIZERS
from examples.digits.training import accuracy, batches, batches_per_epoch, train


def arguments() -> argparse.Namespace:
    """Read what was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.digits", description="Train a classifier of handwritten digits by HTTP calls."
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="where the server is (default: %(default)s)")
    parser.add_argument("--model", choices=MODELS, default="mlp", help="what is trained (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=30, help="passes through the data (default: %(default)s)")
    parser.add_argument(
        "--optimizer", choices=OPTIMIZERS, default="adam", help="how steps are taken (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="what is drawn at random (default: %(default)s)")
    parser.add_argument("--base64", action="store_true", help="send and receive tensors as base64 of their bytes")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write a picture of the loss, as PNG")
    return parser.parse_args()


def main() -> None:
    """Train, test, and say how it went."""
    given = arguments()
    model, optimizer = MODELS[given.model], OPTIMIZERS[given.optimizer]()
    training, testing = data.load()
    rng = np.random.default_rng(given.seed)
    parameters = model.initial_parameters(rng)
    total = given.epochs * batches_per_epoch(training)
    losses = []
    began = time.perf_counter()
    with Client(given.url, binary=given.base64) as client:
        steps = train(client, model, parameters, optimizer, batches(training, given.epochs, rng))
        bar = tqdm(steps, total=total, unit="step", desc=given.model)
        for step in bar:
            parameters = step.improved
            losses.append(step.loss)
            bar.set_postfix(loss=f"{step.loss:.4f}")
        reached = accuracy(client, model, parameters, testing)
    print(f"{len(losses)} steps in {time.perf_counter() - began:.1f} s, loss {losses[0]:.4f} to {losses[-1]:.4f}")
    print(f"test accuracy {reached:.4f} of {len(testing)} digits that were not trained with")
    if given.plot:
        plot.save(losses, f"{given.model}, {given.optimizer}", given.plot)
        print(f"loss drawn in {given.plot}")


if __name__ == "__main__":
    try:
        main()
    except httpx.ConnectError as error:
        sys.exit(f"There is no server there: {error}. `make run` starts one; --url says where it is.")
    except RuntimeError as error:
        sys.exit(str(error))
