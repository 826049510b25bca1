"""ARCHITECTURE.md lists the packages that exist, in the order of the import contracts; the layout keeps its laws."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.docs.markdown import prose
from tests.serving import CHECKOUT

PAGE = CHECKOUT / "ARCHITECTURE.md"
CONTAINERS = ("app", "engine", "engine.ops")
MOST_FILES = 8
"""Files directly in one of the containers; more of them hide the folders."""


def contract(container: str) -> list[list[str]]:
    """Return the floors of a container's import contract, from the top, the packages of each."""
    configuration = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = configuration["tool"]["importlinter"]["contracts"]
    layers = next(known["layers"] for known in contracts if known.get("containers") == [container])
    return [re.findall(r"\w+", layer) for layer in layers]


def folder(container: str) -> Path:
    return CHECKOUT / Path(*container.split("."))


def packages(container: str) -> set[str]:
    """Return the folders of code and the modules directly in a container."""
    entries = folder(container).iterdir()
    return {
        path.stem
        for path in entries
        if (path.suffix == ".py" and path.stem != "__init__") or (path.is_dir() and any(path.glob("**/*.py")))
    }


@pytest.mark.parametrize("container", CONTAINERS)
def test_the_contract_lists_every_package(container: str) -> None:
    listed = [name for floor in contract(container) for name in floor]
    assert sorted(listed) == sorted(packages(container))


@pytest.mark.parametrize("container", CONTAINERS)
def test_the_page_has_the_floors_of_the_contract(container: str) -> None:
    table = prose(PAGE).partition(f"\n`{container.replace('.', '/')}/`")[2].partition("\n\n|")[2].partition("\n\n")[0]
    rows = [re.findall(r"`(\w+)`", row.split("|")[1]) for row in f"|{table}".splitlines()[2:]]
    assert rows == contract(container)


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_container_has_few_files(container: str) -> None:
    files = [path.name for path in folder(container).iterdir() if path.is_file()]
    assert len(files) <= MOST_FILES, files


def modules(root: str) -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((CHECKOUT / root).rglob("*.py")):
        name = ".".join(path.relative_to(CHECKOUT).with_suffix("").parts).removesuffix(".__init__")
        yield name, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield each module that a file names in an import, those for annotations alone too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("container", CONTAINERS)
def test_packages_import_each_other_without_a_circle(container: str) -> None:
    known = packages(container)
    depth = container.count(".") + 1
    arrows: dict[str, set[str]] = defaultdict(set)
    for name, tree in modules(container.replace(".", "/")):
        own = name.split(".")[depth : depth + 1]
        for target in imported(tree):
            if own and target.startswith(f"{container}."):
                other = target.split(".")[depth]
                if other in known and other != own[0]:
                    arrows[own[0]].add(other)
    list(TopologicalSorter(arrows).static_order())


def test_one_public_class_has_one_name() -> None:
    places = defaultdict(list)
    for root in ("app", "engine", "benchmarks"):
        for name, tree in modules(root):
            if ".peers." in name:  # servers of their own, in processes of their own
                continue
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places[node.name].append(name)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_named_files_exist() -> None:
    for name in re.findall(r"`((?:app|engine|tests|benchmarks|docs)/[\w/.]+)`", prose(PAGE)):
        assert (CHECKOUT / name).exists(), name
    for name in re.findall(r"`((?:app|engine)(?:\.\w+)+)`", prose(PAGE)):
        path = CHECKOUT / Path(*name.split("."))
        assert path.exists() or path.with_suffix(".py").exists() or _is_defined(name), name


def _is_defined(name: str) -> bool:
    """Whether a dotted name is a function or class of a module."""
    module, _, attribute = name.rpartition(".")
    path = (CHECKOUT / Path(*module.split("."))).with_suffix(".py")
    return (
        path.exists() and re.search(rf"^(?:class|def) {attribute}\b", path.read_text("utf-8"), re.MULTILINE) is not None
    )
