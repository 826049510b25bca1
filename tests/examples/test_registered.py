"""The training loop over a registered graph ends where the same loop in NumPy does."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from tests.serving import CHECKOUT

pytestmark = [pytest.mark.examples, pytest.mark.timeout(300)]

SCRIPT = CHECKOUT / "examples" / "registered" / "train.mjs"


def expected() -> dict[str, object]:
    """The loop by the closed form of its gradient: (sigmoid(logits) - y) / n, and x transposed times that."""
    i = np.arange(100)
    x = np.stack([np.cos(i), np.sin(2 * i)], axis=1)
    y = (x @ [1, 2] > 0.5).astype(float)
    w, b, losses = np.zeros(2), 0.0, []
    for start in [*range(0, 100, 32)] * 10:
        rows, wanted = x[start : start + 32], y[start : start + 32]
        logits = rows @ w + b
        losses.append(np.mean(np.log1p(np.exp(logits)) - wanted * logits))
        error = (1 / (1 + np.exp(-logits)) - wanted) / len(rows)
        w, b = w - 2 * rows.T @ error, b - 2 * error.sum()
    right = int((((x @ w + b) > 0) == (y == 1)).sum())
    return {
        "needs": ["x", "y"], "first loss": losses[0], "last loss": losses[-1], "w": w, "b": b,
        "points on the right side": right,
    }  # fmt: skip


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_loop_ends_where_numpy_s_does(gradd: str) -> None:
    done = subprocess.run(["node", str(SCRIPT), gradd], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    printed = {name: json.loads(value) for name, value in re.findall(r"^(.+?) = (.*)$", done.stdout, re.MULTILINE)}
    assert list(printed) == list(expected())
    for name, value in expected().items():
        if isinstance(value, np.ndarray | float):
            np.testing.assert_allclose(printed[name], value, rtol=1e-9, err_msg=name)
        else:
            assert printed[name] == value, name
    assert printed["points on the right side"] >= 95
