"""docs/reliability.md: each row names a test that exists and the make task that runs it."""

from __future__ import annotations

import ast
import re
import tomllib
from typing import NamedTuple

import pytest

from tests.docs.markdown import sections
from tests.serving import CHECKOUT

PAGE = CHECKOUT / "docs" / "reliability.md"
HEAD = ["Promise", "Figure", "Test", "Command"]
MAKEFILE = (CHECKOUT / "Makefile").read_text(encoding="utf-8")


class Row(NamedTuple):
    """A row of a table: what is promised, the figure, `path::name` of the test, and the command."""

    promise: str
    figure: str
    test: str
    command: str


def tables() -> list[list[list[str]]]:
    """Return the cells of each table, the head first."""
    texts = [section.text for section in sections(PAGE) if "|" in section.text]
    return [[[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()] for text in texts]


ROWS = [Row(*cells) for _, _, *rows in tables() for cells in rows]
IDS = [row.test.strip("`").partition("::")[2] for row in ROWS]


def markers_of(test: str) -> set[str]:
    """Return the names of the markers of a test, its module's too. Fails if there is no such test."""
    path, _, name = test.partition("::")
    text = (CHECKOUT / path).read_text(encoding="utf-8")
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    found = [node for node in functions if node.name == name]
    assert found, f"{path} has no {name}"
    of_module = re.findall(r"^pytestmark = .*", text, re.MULTILINE)
    marked = " ".join([*of_module, *(ast.unparse(decorator) for decorator in found[0].decorator_list)])
    return set(re.findall(r"pytest\.mark\.(\w+)", marked))


def slow_markers() -> set[str]:
    """Return the markers that `make test` leaves out."""
    configuration = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    options = configuration["tool"]["pytest"]["ini_options"]["addopts"]
    return set(re.findall(r"\w+", options[options.index("-m") + 1])) - {"not", "or"}


def test_every_table_has_the_same_columns() -> None:
    assert [table[0] for table in tables()] == [HEAD] * len(tables())
    assert all(all(row) for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_a_row_names_a_test_and_the_task_that_runs_it(row: Row) -> None:
    test, command = re.fullmatch("`([^`]+)`", row.test), re.fullmatch("`make ([a-z]+)`", row.command)
    assert test, row.test
    assert command, row.command
    recipe = re.search(rf"^{command[1]}:.*## .*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert recipe, f"the Makefile has no task {command[1]}"
    path, _, name = test[1].partition("::")
    assert (CHECKOUT / path).is_file(), path
    task = next(iter(markers_of(test[1]) & slow_markers()), "test") if name else ""
    assert command[1] == task or _is_named(path, recipe[1]), f"{row.command} does not run {test[1]}"


def _is_named(path: str, recipe: str) -> bool:
    """Whether a recipe names a file, or runs it as a module."""
    return path in recipe or path.removesuffix(".py").replace("/", ".") in recipe


def test_a_promise_stands_once() -> None:
    assert len({row.promise for row in ROWS}) == len(ROWS)
