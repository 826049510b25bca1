"""A program before type checks: named leaves, and calls of ops by name.

The service builds a `Program` from a request. `engine.program.trace` checks and types it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.graph.types import DType, Number, Shape, float64


@dataclass(frozen=True, slots=True)
class Leaf:
    """The type of an input tensor of a program, without its values."""

    dtype: DType
    shape: Shape
    requires_grad: bool = False


@dataclass(frozen=True, slots=True)
class Ref:
    """A reference to a tensor or to an op's output by its name, as an argument of an op."""

    name: str


Argument = Ref | Number | str | None | tuple["Argument", ...]


@dataclass(frozen=True, slots=True)
class OpCall:
    """A call of an op by its public name.

    `inputs` contains the positional arguments, or is a mapping from parameter names to arguments. `attributes` contains
    the keyword arguments that are not tensors. `output` is the name of the result, or the names of the results (None
    for a result without a name). With `no_grad`, the results are constants for differentiation.
    """

    op: str
    inputs: tuple[Argument, ...] | Mapping[str, Argument] = ()
    attributes: Mapping[str, Argument] = field(default_factory=dict)
    output: str | tuple[str | None, ...] = ""
    no_grad: bool = False


@dataclass(frozen=True, slots=True)
class Program:
    """The leaves and the calls of ops, in any order. `dtype` is the default dtype of tensors and numbers."""

    tensors: Mapping[str, Leaf]
    ops: tuple[OpCall, ...]
    dtype: DType = float64
