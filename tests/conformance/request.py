"""From a call of a PyTorch function to a request of the contract. What a request cannot say raises `Unsayable` with
the reason, which the report shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from tests.conformance.calls import Call
from tests.conformance.parameters import parameters
from tests.conformance.wire import NAMES, Form, write_number, write_tensor


class Unsayable(Exception):
    """The contract has no way to write this call; the message says why."""


@dataclass(frozen=True)
class Style:
    """One of the ways in which the contract lets the same request be written."""

    form: Form = "nested"
    by_name: bool = False
    encoding: str = "json"


STYLES = (
    Style("nested"),
    Style("shorthand"),
    Style("nested", by_name=True),
    Style("flat"),
    Style("base64", encoding="base64"),
)
"""Samples take turns in these, so that each op meets every form."""


def leaves(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in an argument or in a structure of arguments, each once, in order."""
    seen: set[int] = set()
    for tensor in _tensors(value):
        if id(tensor) not in seen:
            seen.add(id(tensor))
            yield tensor


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(tuple(value.values()))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


@dataclass
class _Writer:
    style: Style
    default: torch.dtype
    names: dict[int, str] = field(default_factory=dict)
    tensors: dict[str, Any] = field(default_factory=dict)

    def tensor(self, tensor: torch.Tensor) -> str:
        if id(tensor) not in self.names:
            if tensor.layout is not torch.strided or tensor.dtype not in NAMES:
                raise Unsayable(f"a tensor of layout {tensor.layout} and dtype {tensor.dtype}")
            name = self.names[id(tensor)] = f"x{len(self.names)}"
            self.tensors[name] = write_tensor(tensor, self.style.form, self.default, tensor.requires_grad)
        return self.names[id(tensor)]

    def argument(self, value: Any) -> Any:
        """Return an argument that is no string as the contract writes it."""
        if isinstance(value, torch.Tensor):
            return self.tensor(value)
        if value is None or isinstance(value, (bool, int)):
            return value
        if isinstance(value, float):
            number = write_number(value)
            return {"number": number} if isinstance(number, str) else number
        if isinstance(value, complex):
            return {"number": [write_number(value.real), write_number(value.imag)]}
        if isinstance(value, (list, tuple)):
            return [self.argument(item) for item in value]
        if isinstance(value, np.generic):
            return self.argument(value.item())
        raise Unsayable(f"an argument of type {type(value).__name__}")

    def attribute(self, value: Any) -> Any:
        """Return an argument that holds no tensor."""
        if isinstance(value, str):
            return value
        if isinstance(value, torch.dtype):
            if value not in NAMES:
                raise Unsayable(f"the dtype {value}")
            return NAMES[value]
        return self.argument(value)


def _is_word(value: Any) -> bool:
    return isinstance(value, (str, torch.dtype))


def _holds_tensor(value: Any) -> bool:
    return next(_tensors(value), None) is not None


def graph(
    call: Call, outputs: str | list[str], default: torch.dtype, style: Style
) -> tuple[dict[str, Any], dict[int, str]]:
    """Return the graph of one op, and the names of its leaves by the tensors' identity.

    Tensors given by keyword make `inputs` an object, in which everything stands by name.
    """
    writer = _Writer(style, default)
    named = {name: value for name, value in call.kwargs.items() if _holds_tensor(value)}
    attributes = {name: value for name, value in call.kwargs.items() if name not in named}
    inputs: Any
    if named or style.by_name or any(_is_word(value) for value in call.args):
        try:
            names = parameters(call.name, call.args, call.kwargs)
        except LookupError as missing:
            raise Unsayable(str(missing)) from missing
        given = dict(_by_name([name for name in names if name not in call.kwargs], call.args))
        words = {name: value for name, value in given.items() if _is_word(value)}
        attributes |= words
        # Positions count the parameters that are left once strings are taken out, and some take strings and numbers.
        if named or style.by_name or list(given)[: len(given) - len(words)] != [n for n in given if n not in words]:
            inputs = {k: writer.argument(v) for k, v in (given | named).items() if k not in words}
        else:
            inputs = [writer.argument(v) for k, v in given.items() if k not in words]
    else:
        inputs = [writer.argument(value) for value in call.args]
    op = {"op": call.name, "inputs": inputs, "output": outputs}
    if attributes:
        op["attributes"] = {name: writer.attribute(value) for name, value in attributes.items()}
    return {"dtype": NAMES[default], "tensors": writer.tensors, "ops": [op]}, writer.names


def _by_name(names: list[str], args: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    """Yield parameters and their arguments; the last parameter takes all that is left over."""
    for place, name in enumerate(names[: len(args)]):
        yield name, (args[place:] if place == len(names) - 1 and len(args) > len(names) else args[place])
