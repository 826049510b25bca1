"""ARCHITECTURE.md tells of the modules that there are, on the floors on which the import contracts have them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.docs.markdown import prose, sections
from tests.serving import CHECKOUT

PAGE = CHECKOUT / "ARCHITECTURE.md"


def contract(name: str) -> list[list[str]]:
    """Return the floors of a contract of pyproject.toml, from the top, the modules of each."""
    configuration = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = configuration["tool"]["importlinter"]["contracts"]
    layers = next(known["layers"] for known in contracts if known["id"] == name)
    return [re.findall(r"\w+", layer) for layer in layers]


def test_the_floors_are_those_of_the_contracts() -> None:
    floors = next(section.text for section in sections(PAGE) if section.title == "Floors")
    rows = [re.findall(r"`(\w+)`", cell) for cell in re.findall(r"^\| (`[^|]*) \|", floors, re.MULTILINE)]
    assert rows == contract("engine-floors") + contract("app-floors")


def modules(package: str) -> list[str]:
    return sorted(
        path.stem
        for path in (CHECKOUT / package).iterdir()
        if (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").exists()
    )


@pytest.mark.parametrize(("package", "module"), [(p, m) for p in ("app", "engine") for m in modules(p)])
def test_every_module_is_told_of(package: str, module: str) -> None:
    text = prose(PAGE)
    assert f"`{module}`" in text or f"`{package}.{module}`" in text


def test_files_that_are_told_of_exist() -> None:
    for name in re.findall(r"`((?:app|engine|tests)/[\w/.]+)`", prose(PAGE)):
        assert (CHECKOUT / name).exists(), name
    for name in re.findall(r"`((?:app|engine)(?:\.\w+)+)`", prose(PAGE)):
        path = CHECKOUT / Path(*name.split("."))
        assert path.exists() or path.with_suffix(".py").exists(), name
