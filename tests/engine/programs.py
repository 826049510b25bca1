"""Programs and their values, written shortly: what tests of compiled requests are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.program import Call, Leaf, Program, Ref
from engine.types import DTYPES, float64

Array = np.ndarray[Any, Any]


def call(op: str, *inputs: Any, output: Any = "", **attributes: Any) -> Call:
    """Return a call: strings among the inputs are names."""
    return Call(op, tuple(map(_argument, inputs)), attributes, output)


def _argument(value: Any) -> Any:
    if isinstance(value, str):
        return Ref(value)
    if isinstance(value, list):
        return tuple(map(_argument, value))
    return value


def program(values: Mapping[str, Any], *calls: Call) -> Program:
    """Return a program whose floating tensors require grad, of the types of `values`."""
    arrays = {name: np.asarray(value) for name, value in values.items()}
    leaves = {
        name: Leaf(DTYPES[array.dtype.name], array.shape, array.dtype.kind == "f") for name, array in arrays.items()
    }
    return Program(leaves, calls, float64)


def given(values: Mapping[str, Any], member: str = "tensors") -> dict[tuple[str, str], Array]:
    """Return values as a compiled request takes them."""
    return {(member, name): np.asarray(value) for name, value in values.items()}
