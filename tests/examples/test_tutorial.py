"""The tutorial in every language prints the same lines, `name = JSON`, and their numbers are those of the formulas."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.serving import CHECKOUT

pytestmark = [pytest.mark.examples, pytest.mark.timeout(300)]

TUTORIAL = CHECKOUT / "examples" / "tutorial"


def rust(folder: Path) -> list[str]:
    program = folder / "tutorial"
    subprocess.run(
        ["rustc", "--edition", "2021", "-D", "warnings", "-o", str(program), str(TUTORIAL / "tutorial.rs")], check=True
    )
    return [str(program)]


# What must be installed, and the command: it may build into a folder first.
LANGUAGES: dict[str, tuple[list[str], Callable[[Path], list[str]]]] = {
    "curl": (["bash", "curl", "sed"], lambda _: ["bash", str(TUTORIAL / "tutorial.sh")]),
    "JavaScript": (["node"], lambda _: ["node", str(TUTORIAL / "tutorial.mjs")]),
    "Java": (["java"], lambda _: ["java", str(TUTORIAL / "Tutorial.java")]),
    "Rust": (["rustc", "cc"], rust),
}


def expected() -> dict[str, Any]:
    """The lines by the closed forms: the loss is the mean of softplus(z) - y z, its gradient (sigmoid(z) - y) / n."""
    w = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9], [1.0, 1.1, 1.2], [1.3, 1.4, 1.5]])
    z = np.ones(5) @ w + np.array([0.5, 0.1, 0.2])
    b_grad = 1 / (1 + np.exp(-z)) / 3
    return {
        "z": z,
        "loss": np.mean(np.log1p(np.exp(z))),
        "z.grad_fn": "AddBackward0",
        "loss.grad_fn": "BinaryCrossEntropyWithLogitsBackward0",
        "w.grad": np.outer(np.ones(5), b_grad),
        "b.grad": b_grad,
        "b.grad, accumulated": 2 * b_grad,
        "z.requires_grad": True,
        "z_no_grad.requires_grad": False,
        "z_detached.requires_grad": False,
        "gradients, b frozen": ["w"],
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_tutorial(language: str, gradd: str, tmp_path: Path) -> None:
    needed, command = LANGUAGES[language]
    missing = [program for program in needed if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed")
    done = subprocess.run([*command(tmp_path), gradd], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    printed = {name: json.loads(value) for name, value in re.findall(r"^(?!#)(.+?) = (.*)$", done.stdout, re.MULTILINE)}
    assert list(printed) == list(expected())
    for name, value in expected().items():
        if isinstance(value, np.ndarray | float):
            np.testing.assert_allclose(np.array(printed[name]), value, rtol=1e-12, err_msg=name)
        else:
            assert printed[name] == value, name


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_list_of_examples_has_it(language: str) -> None:
    rows = (CHECKOUT / "examples" / "README.md").read_text(encoding="utf-8").splitlines()
    assert any(row.startswith(f"| {language} |") for row in rows)
