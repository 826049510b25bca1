"""The command line of the measurements, in a process of its own: it binds its process to some cores."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.command import MEASUREMENTS
from tests.serving import CHECKOUT


def benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )


def test_list_names_everything_that_only_takes() -> None:
    listed = benchmarks("--list").stdout.splitlines()
    assert [line.split()[0] for line in listed] == list(MEASUREMENTS)


@pytest.mark.parametrize("arguments", [("--only", "nothing"), ("--fast",)])
def test_what_is_not_there_is_refused(arguments: tuple[str, ...]) -> None:
    done = benchmarks(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
