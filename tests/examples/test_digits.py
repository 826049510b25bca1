"""The digit classifiers learn, from the command line as a reader starts them; their gradients are PyTorch's."""

import json
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from examples.digits import data
from examples.digits.client import Client
from examples.digits.models import MODELS
from examples.digits.optimizers import Adam
from examples.digits.training import Step, batches, train
from tests.serving import CHECKOUT, free_port

pytestmark = [pytest.mark.examples, pytest.mark.timeout(900)]

TORCH = CHECKOUT / ".venv-conformance" / "bin" / "python"
COMPARED_STEPS = (1, 100)


def digits(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "examples.digits", *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )


@pytest.mark.parametrize(("model", "more"), [("mlp", []), ("conv", ["--epochs", "20", "--base64"])])
def test_a_classifier_learns(model: str, more: list[str], gradd: str, tmp_path: Path) -> None:
    picture = tmp_path / "loss.png"
    done = digits("--url", gradd, "--model", model, "--plot", str(picture), *more)
    assert done.returncode == 0, done.stderr
    reached = re.search(r"^test accuracy ([0-9.]+) of 360 digits", done.stdout, re.MULTILINE)
    assert reached, done.stdout
    assert float(reached[1]) > 0.95
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_every_optimizer_makes_the_loss_small(optimizer: str, gradd: str) -> None:
    done = digits("--url", gradd, "--optimizer", optimizer, "--epochs", "4", "--base64")
    assert done.returncode == 0, done.stderr
    losses = re.search(r"loss ([0-9.]+) to ([0-9.]+)", done.stdout)
    assert losses, done.stdout
    assert float(losses[2]) < float(losses[1]) / 2


def save(step: Step, file: Path) -> None:
    parameters = {f"parameters/{name}": value for name, value in step.parameters.items()}
    gradients = {f"gradients/{name}": value for name, value in step.gradients.items()}
    arrays = {"images": step.batch.images, "labels": step.batch.labels, "loss": np.array(step.loss)}
    np.savez(file, **arrays, **parameters, **gradients)  # type: ignore[arg-type]  # one of them could be allow_pickle


@pytest.mark.conformance
@pytest.mark.parametrize("model", ["mlp", "conv"])
def test_gradients_are_those_of_pytorch(model: str, gradd: str, tmp_path: Path) -> None:
    if not TORCH.exists():
        pytest.skip(f"there is no PyTorch at {TORCH.relative_to(CHECKOUT)}: `make conformance` installs it")
    rng = np.random.default_rng(0)
    parameters = MODELS[model].initial_parameters(rng)
    training, _ = data.load()
    with Client(gradd, binary=True) as client:
        steps = train(client, MODELS[model], parameters, Adam(), batches(training, 5, rng))
        for number, step in enumerate(islice(steps, max(COMPARED_STEPS)), start=1):
            if number in COMPARED_STEPS:
                save(step, tmp_path / f"{number}.npz")
    script = Path(__file__).with_name("torch_digits.py")
    files = [str(tmp_path / f"{number}.npz") for number in COMPARED_STEPS]
    done = subprocess.run([str(TORCH), str(script), model, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    differences = json.loads(done.stdout)
    assert len(differences) == len(COMPARED_STEPS) * (1 + len(parameters))
    assert max(differences.values()) < 1e-9, differences


def test_a_missing_server_is_said() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = digits("--url", url)
    assert done.returncode == 1
    assert "There is no server" in done.stderr
    assert "make run" in done.stderr
    assert "Traceback" not in done.stderr
