"""The engine's front door: any program is refused with faults, or compiles, and then its results have the traced types.

The bytes choose leaves, ops, arguments and the request; most choices are valid, so that some programs run.
"""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from engine import (
    DTYPES,
    DeadlineExceeded,
    DType,
    ForwardRequest,
    GradientRequest,
    GraphError,
    HessianRequest,
    JacobianRequest,
    Leaf,
    Limits,
    OpCall,
    Program,
    Ref,
    Request,
    ValueFault,
    compile_request,
    explain,
)
from engine.graph.op import REGISTRY
from engine.graph.signature import Parameter

T = TypeVar("T")

SEEDS = [random.Random(seed).randbytes(200) for seed in range(300)]
WORDS = ()
LIMITS = Limits(rank=8, elements=2**12, nodes=3000, bytes=2**22)
OPS = sorted(REGISTRY)
SHAPES = (
    (),
    (1,),
    (2,),
    (3,),
    (0,),
    (2, 2),
    (2, 3),
    (3, 2),
    (1, 3),
    (2, 0),
    (2, 2, 2),
    (1, 2, 3),
    (1, 1, 4, 4),
    (2, 3, 3, 3),
)
NUMBERS = (
    0,
    1,
    -1,
    2,
    3,
    -2,
    5,
    0.5,
    -0.5,
    1.0,
    0.0,
    True,
    False,
    1e-3,
    100,
    2**31,
    -(2**31),
    1e300,
    float("nan"),
    float("inf"),
)
WORDS_OF_ARGUMENTS = (
    "mean",
    "sum",
    "none",
    "float32",
    "int64",
    "bool",
    "fro",
    "nuc",
    "x",
    "",
    "constant",
    "reflect",
    "ij,jk->ik",
)
DTYPE_NAMES = ("float64", "float64", "float64", "float32", "float16", "int64", "bool", "uint8")
SCALARS: dict[Any, tuple[Any, ...]] = {
    bool: (False, True),
    int: NUMBERS[:7],
    float: NUMBERS,
    complex: NUMBERS,
    str: WORDS_OF_ARGUMENTS,
    type(None): (None,),
    DType: DTYPE_NAMES,
}


class Choices:
    """Choices made by bytes; when none are left, the first choice."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def left(self) -> bool:
        """Whether there are bytes left."""
        return self._at < len(self._data)

    def below(self, count: int) -> int:
        """Return a number from 0 to count - 1."""
        value = int.from_bytes(self._data[self._at : self._at + (1 if count <= 256 else 2)], "little")
        self._at += 1 if count <= 256 else 2
        return value % count

    def of(self, items: Sequence[T]) -> T:
        """Return one of the items."""
        return items[self.below(len(items))]

    def rarely(self) -> bool:
        """Return True in one of 32 cases."""
        return self.below(32) == 31


def program(choices: Choices) -> Program:
    """Return a program of up to four leaves and eight ops."""
    names = [f"x{index}" for index in range(1 + choices.below(4))]
    leaves = {name: Leaf(DTYPES[choices.of(DTYPE_NAMES)], choices.of(SHAPES), choices.below(2) == 0) for name in names}
    calls = []
    for index in range(1 + choices.below(8)):
        if not choices.left:
            break
        made = call(choices, names, f"y{index}")
        calls.append(made)
        names += [made.output] if isinstance(made.output, str) else [name for name in made.output if name]
    return Program(leaves, tuple(calls), DTYPES[choices.of(DTYPE_NAMES)])


def call(choices: Choices, names: list[str], output: str) -> OpCall:
    """Return a call of an op whose arguments have mostly the kinds that its parameters take."""
    name = choices.of(OPS)
    inputs: list[Any] = []
    attributes: dict[str, Any] = {}
    for parameter in REGISTRY[name].signature.parameters:
        if not parameter.required and choices.below(3):
            continue
        value = argument(choices, names, parameter)
        if parameter.positional and not attributes and not choices.rarely():
            inputs.append(value)
        else:
            attributes[parameter.name] = value
    if choices.rarely():
        attributes[choices.of(("dim", "surprise", "input", "out"))] = anything(choices, names)
    outputs = choices.below(16)
    given: Any = output if outputs < 13 else tuple(f"{output}_{index}" for index in range(outputs - 12))
    given = names[0] if choices.rarely() else given
    return OpCall(name, tuple(inputs), attributes, given, no_grad=choices.rarely())


def argument(choices: Choices, names: list[str], parameter: Parameter) -> Any:
    """Return an argument for a parameter."""
    if choices.rarely():
        return anything(choices, names)
    if parameter.choices and choices.below(4):
        return choices.of(parameter.choices)
    kind = choices.of(sorted(parameter.takes, key=str))
    if kind in SCALARS:
        return choices.of(SCALARS[kind])
    if "Tensor" not in str(kind):
        return tuple(choices.of(SCALARS[int]) for _ in range(choices.below(5)))
    if "tuple" not in str(kind):
        return reference(choices, names)
    return tuple(reference(choices, names) for _ in range(choices.below(4)))


def reference(choices: Choices, names: list[str]) -> Ref:
    """Return a reference to a known name; to an unknown or later one, rarely."""
    return Ref(choices.of(("nothing", "y7", ""))) if choices.rarely() else Ref(choices.of(names[-6:]))


def anything(choices: Choices, names: list[str], depth: int = 0) -> Any:
    """Return an argument of any kind."""
    kind = choices.below(5 if depth < 3 else 4)
    if kind == 0:
        return reference(choices, names)
    if kind == 1:
        return choices.of(NUMBERS)
    if kind == 2:
        return choices.of(WORDS_OF_ARGUMENTS)
    if kind == 3:
        return None
    return tuple(anything(choices, names, depth + 1) for _ in range(choices.below(4)))


def request(choices: Choices, made: Program) -> Request:
    """Return a request for the program."""
    outputs = [
        name for call in made.ops for name in (call.output if isinstance(call.output, tuple) else (call.output,))
    ]
    last = (outputs[-1] or "x0") if outputs else "x0"
    common: dict[str, Any] = {"detect_anomaly": choices.rarely()}
    if choices.below(8) == 7:
        common["vmap"] = {choices.of((*made.tensors, last)): choices.of((0, 0, 1, -1, 5))}
    if choices.below(8) == 7:
        common["checkpoint"] = (choices.of((*made.tensors, last)),)
    kind = choices.below(6)
    if kind == 0:
        return ForwardRequest(**common)
    if kind == 1:
        return HessianRequest(**common)
    if kind == 2:
        return JacobianRequest(**common, outputs=(last,), mode=choices.of(("auto", "forward", "reverse")))
    backward = choices.of((None, {last: None}, {last: Leaf(DTYPES["float64"], choices.of(SHAPES))}))
    unreached: Any = choices.of(("null", "zeros", "error"))
    return GradientRequest(**common, backward=backward, unreached=unreached)


def check_faults(error: GraphError) -> None:
    """Assert that a program was refused with faults."""
    assert error.faults
    assert all(fault.code and fault.detail for fault in error.faults)


def values(made: Program, wanted: Request) -> dict[tuple[str, str], np.ndarray[Any, Any]]:
    """Return values for the tensors of the program and of the request: small, and the same for the same types."""
    rng = np.random.default_rng(7)
    given: dict[tuple[str, str], Leaf | None] = {("tensors", name): leaf for name, leaf in made.tensors.items()}
    given |= {(str(wanted.brings), name): leaf for name, leaf in wanted.brought.items()}
    return {
        source: rng.uniform(-1.5, 3, leaf.shape).astype(leaf.dtype.numpy)
        for source, leaf in given.items()
        if leaf is not None
    }


def check(data: bytes) -> None:
    """Compile a request, explain it, and run it on values. Its results have the types that were computed before."""
    choices = Choices(data)
    made = program(choices)
    wanted = request(choices, made)
    deadline = time.monotonic() + 20
    with warnings.catch_warnings(action="error"):
        try:
            compiled = compile_request(made, wanted, LIMITS, deadline)
        except GraphError as error:
            check_faults(error)
            return
        explain(made, wanted, LIMITS, deadline)
        try:
            found = compiled.run(values(made, wanted), deadline=deadline)
        except (ValueFault, DeadlineExceeded):
            return
    for place, shape, dtype in compiled.results:
        result: Any = found
        for name in place:
            result = result[name]
        assert (result.shape, result.dtype) == (shape, dtype.numpy), place
