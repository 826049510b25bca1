"""Every command that a page shows is run by some suite, and what the command line and the Makefile offer is shown."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer

from app.__main__ import main
from tests.docs.commands import ELSEWHERE, shown
from tests.serving import CHECKOUT

README = CHECKOUT / "README.md"


@pytest.mark.parametrize(("place", "command"), shown())
def test_a_command_is_run_by_some_suite(place: str, command: str) -> None:
    found = [run for pattern, run in ELSEWHERE.items() if re.match(pattern, command)]
    assert found, f"{place}: no suite runs `{command}`"
    for suite, text in found:
        assert text in (CHECKOUT / suite).read_text(encoding="utf-8"), f"{suite} is said to run `{command}`"


def test_every_pattern_is_of_use() -> None:
    commands = [command for _, command in shown()]
    assert not [pattern for pattern in ELSEWHERE if not any(re.match(pattern, command) for command in commands)]


def make(*arguments: str, cwd: Path = CHECKOUT) -> str:
    return subprocess.run(["make", *arguments], cwd=cwd, capture_output=True, text=True, check=True).stdout


def tasks() -> list[str]:
    return re.findall(r"^([a-z]+):.*## ", (CHECKOUT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_tasks_that_are_shown_are_those_that_exist() -> None:
    shown_tasks = {match[1] for _, command in shown() if (match := re.match(r"make ([a-z]+)", command))}
    assert shown_tasks == {*tasks(), "help"}
    assert all(f"make {task} " in make("help") for task in tasks())


def test_arguments_reach_pytest() -> None:
    assert "pytest -k tanh -x" in make("--dry-run", "--always-make", "test", "ARGS=-k tanh -x")


def test_the_task_that_changes_files_says_what_it_would_do() -> None:
    assert make("--dry-run", "format")


def test_clean_leaves_the_sources_alone(tmp_path: Path) -> None:
    shutil.copy(CHECKOUT / "Makefile", tmp_path)
    for made in (".venv/bin", "build", ".pytest_cache", "app/__pycache__"):
        (tmp_path / made).mkdir(parents=True)
    (tmp_path / "app" / "main.py").touch()
    make("clean", cwd=tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["Makefile", "app", "main.py"]


def subcommands() -> list[str]:
    group = typer.main.get_command(main)
    return sorted(group.commands)  # type: ignore[attr-defined]  # a group, since there are several commands


@pytest.mark.parametrize("name", subcommands())
def test_every_command_is_shown(name: str) -> None:
    assert f"gradd {name}" in README.read_text(encoding="utf-8")
