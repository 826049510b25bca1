"""Every kind of request: what its record says of its members is so, and each adds its derivatives in its own module."""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module
from pkgutil import iter_modules

import pytest

import engine.compile.derivatives
from engine.compile.request import Request


def kinds() -> list[type[Request]]:
    """Return the records of the package, each from its own module."""
    modules = [
        import_module(f"engine.compile.derivatives.{found.name}")
        for found in iter_modules(engine.compile.derivatives.__path__)
    ]
    return [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Request) and value.__module__ == module.__name__
    ]


def test_there_is_a_module_for_each_kind() -> None:
    assert len(kinds()) == len({kind.__module__ for kind in kinds()})
    assert {kind.__module__.rpartition(".")[2] for kind in kinds()} >= {"forward", "gradients", "jvp", "vjp"}


@pytest.mark.parametrize("kind", kinds())
def test_a_kind_names_members_that_it_has(kind: type[Request]) -> None:
    members = {field.name for field in fields(kind)}
    assert {kind.by, kind.brings} - {None} <= members
    assert kind.derive is not Request.derive
    assert kind.differentiates == (kind.by is not None)
