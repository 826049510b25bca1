"""A user's computation as it is asked for: named leaves, and calls of ops by name. Nothing is checked here.

The service builds a `Program` from a request; `engine.program.trace` checks and types it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.graph.types import DType, Number, Shape, float64


@dataclass(frozen=True, slots=True)
class Leaf:
    """A tensor that the user gives, without its values."""

    dtype: DType
    shape: Shape
    requires_grad: bool = False


@dataclass(frozen=True, slots=True)
class Ref:
    """A tensor's or an op output's name, where it stands as an argument."""

    name: str


Argument = Ref | Number | str | None | tuple["Argument", ...]


@dataclass(frozen=True, slots=True)
class OpCall:
    """One op, called by its public name.

    `inputs` are its positional arguments (or, as a mapping, arguments by parameter name), `attributes` its keyword
    arguments that are no tensors, `output` the name of its result or the names of its results (None skips one).
    """

    op: str
    inputs: tuple[Argument, ...] | Mapping[str, Argument] = ()
    attributes: Mapping[str, Argument] = field(default_factory=dict)
    output: str | tuple[str | None, ...] = ""
    no_grad: bool = False


@dataclass(frozen=True, slots=True)
class Program:
    """The leaves and the calls, in any order. `dtype` is what tensors and numbers that name none have."""

    tensors: Mapping[str, Leaf]
    ops: tuple[OpCall, ...]
    dtype: DType = float64
