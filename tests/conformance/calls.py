"""From an entry of PyTorch's list to the call of a public function: the entry may stand for a lambda, a partial or an
operator's method that takes its arguments in another order. The tables here say how each is called by a user.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.conformance.samples import Op, Sample

DROPPED = frozenset({"device", "layout", "pin_memory", "requires_grad", "generator", "_stacklevel", "non_blocking"})
"""Keyword arguments that say where and how a tensor is kept: the contract has no such notion."""


@dataclass(frozen=True)
class Call:
    """A public function and its arguments."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


Arguments = tuple[tuple[Any, ...], dict[str, Any]]
Rearrangement = Callable[..., Arguments]


def _swapped(first: Any, second: Any, *rest: Any, **kwargs: Any) -> Arguments:
    return (second, first, *rest), kwargs


REARRANGED: dict[str, Rearrangement] = {
    "einsum": lambda operands, equation: ((tuple(operands),), {"equation": equation}),
    "where": lambda x, condition, other: ((condition, x, other), {}),
    "embedding": _swapped,
    "polygamma": lambda x, n: ((n, x), {}),
    "special.polygamma": lambda x, n: ((n, x), {}),
}
"""By the entry's name: the arguments of the public function, from those of the entry."""

OPERATORS = {"__radd__": "add", "__rmul__": "mul", "__rsub__": "sub", "__rdiv__": "div", "__rmod__": "remainder",
             "__rpow__": "pow", "__rmatmul__": "matmul", "__rand__": "bitwise_and", "__ror__": "bitwise_or",
             "__rxor__": "bitwise_xor"}  # fmt: skip
"""Python's reflected operators: the public op that they call, with its operands swapped."""


def public_call(op: Op, sample: Sample) -> Call:
    """Return the call that a user of the public function writes."""
    args, kwargs = sample.args, dict(sample.kwargs)
    if isinstance(op.call, functools.partial):
        args, kwargs = (*op.call.args, *args), {**op.call.keywords, **kwargs}
    if op.entry in OPERATORS:
        return Call(OPERATORS[op.entry], args[::-1], kwargs)
    if op.entry in REARRANGED:
        args, kwargs = REARRANGED[op.entry](*args, **kwargs)
    return Call(op.name, args, {name: value for name, value in kwargs.items() if name not in DROPPED})
