"""The image, built from this checkout."""

import shutil

import pytest

from tests.containers.runner import run, runner


@pytest.fixture(scope="session")
def image() -> str:
    program = runner()[0]
    assert shutil.which(program), f"{program} is not installed; CONTAINERS names another container runner"
    run("build", "--tag", "gradd", ".")
    return "gradd"
