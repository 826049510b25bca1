"""Which Python `make run` takes on a machine that has several, and what it says where it finds none that will do."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving import CHECKOUT

OLD = 'case "$2" in *version_info*) exit 1 ;; esac'
WITHOUT_VENV = 'case "$2" in *ensurepip*) exit 1 ;; esac'
NEW = f'exec "{sys.executable}" "$@"'


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder with the Makefile, and `bin` for the only programs that there are."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, tmp_path)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("make", "sh"):
        found = shutil.which(name)
        assert found, f"{name} is not installed"
        (programs / name).symlink_to(found)
    return tmp_path


def install(machine: Path, name: str, script: str) -> None:
    program = machine / "bin" / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def make(machine: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments],
        cwd=machine,
        env={"PATH": str(machine / "bin")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_old_python3_is_passed_over(machine: Path) -> None:
    install(machine, "python3", OLD)
    install(machine, "python3.12", NEW)
    done = make(machine, ".venv/bin/pip")
    assert done.returncode == 0, done.stderr
    assert (machine / ".venv/bin/pip").exists()


def test_none_new_enough_is_said(machine: Path) -> None:
    install(machine, "python3", OLD)
    done = make(machine, "run")
    assert done.returncode != 0
    assert "gradd needs Python 3.11 or newer, and none is on the path." in done.stderr
    assert "make run PYTHON=" in done.stderr


def test_a_given_python_that_is_too_old_is_named(machine: Path) -> None:
    install(machine, "python3.9", OLD)
    assert "python3.9 is not" in make(machine, "run", "PYTHON=python3.9").stderr


def test_a_missing_venv_module_is_said(machine: Path) -> None:
    install(machine, "python3", WITHOUT_VENV)
    done = make(machine, "run")
    assert done.returncode != 0
    assert "apt install python3-venv" in done.stderr
