"""Every kind of request: what its record says of its members is so, and each adds its derivatives in its own module."""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module
from pkgutil import iter_modules

import pytest

import engine.compile.derivatives
from engine import (
    Argument,
    ForwardRequest,
    GraphError,
    Leaf,
    Limits,
    OpCall,
    Program,
    Ref,
    compile_request,
    float64,
)
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


@pytest.mark.parametrize("value", [Ref("x"), Ref("y"), Ref("later"), Ref("nothing"), (1, (Ref("x"),))], ids=str)
@pytest.mark.parametrize("name", ["input", "dim", "unknown"])
def test_a_tensor_in_attributes_is_a_fault(name: str, value: Argument) -> None:
    calls = (OpCall("sum", (), {name: value}, "y"), OpCall("exp", (Ref("x"),), output="later"))
    with pytest.raises(GraphError) as raised:
        compile_request(Program({"x": Leaf(float64, (2,))}, calls), ForwardRequest(), Limits())
    expected = "unknown_parameter" if name == "unknown" else "tensor_in_attributes"
    assert (("graph", "ops", 0, "attributes", name), expected) in {(f.path, f.code) for f in raised.value.faults}
