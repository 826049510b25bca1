"""The names that a call of a program refers to, and those of its results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from engine.errors import Path
from engine.program.program import Argument, OpCall, Ref


def references(call: OpCall) -> Iterator[tuple[Path, Ref]]:
    """Yield every name that a call's inputs refer to, with its path inside the call."""
    inputs = call.inputs
    items: Iterable[tuple[str | int, Argument]] = enumerate(inputs) if isinstance(inputs, tuple) else inputs.items()
    for key, argument in items:
        if type(argument) is Ref:
            yield ("inputs", key), argument
        elif type(argument) is tuple:
            yield from nested_references(("inputs", key), argument)


def names_read(call: OpCall) -> list[str]:
    """Return every name that a call's inputs refer to."""
    inputs = call.inputs if isinstance(call.inputs, tuple) else call.inputs.values()
    names: list[str] = []
    for argument in inputs:
        if type(argument) is Ref:
            names.append(argument.name)
        elif type(argument) is tuple:
            names += [ref.name for _, ref in nested_references((), argument)]
    return names


def nested_references(path: Path, items: tuple[Argument, ...]) -> Iterator[tuple[Path, Ref]]:
    """Yield the names in a list, at any depth."""
    stack: list[tuple[Path, Argument]] = [(path, items)]
    while stack:
        place, item = stack.pop()
        if type(item) is Ref:
            yield place, item
        elif type(item) is tuple:
            stack.extend([((*place, position), inner) for position, inner in reversed(list(enumerate(item)))])


def output_names(call: OpCall) -> tuple[str | None, ...]:
    """Return the names that a call gives its results."""
    return (call.output,) if isinstance(call.output, str) else call.output
