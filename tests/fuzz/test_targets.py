"""Each target runs for SECONDS on inputs that atheris mutates by coverage, and none of them fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving import CHECKOUT

SECONDS = os.environ.get("SECONDS", "600")
TARGETS = sorted(path.stem for path in Path(__file__).parent.glob("targets/[a-z]*.py") if "SEEDS" in path.read_text())


@pytest.mark.fuzz
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", TARGETS)
def test_no_input_fails(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.run", name, SECONDS],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    assert done.returncode == 0, done.stderr[-10_000:]
    print(done.stderr[-500:])  # noqa: T201
