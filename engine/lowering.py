"""What a node's kernel becomes where its types say that less will do: the kernel a plan calls, chosen when it is built.

For tiny tensors a call of NumPy's dispatch costs more than the arithmetic, so that an array's own method, or Python's
operator on NumPy scalars (0.04 µs, against 0.5 µs of a ufunc), is most of the gain. Every way of running a plan takes
the kernel from here, and so gives the same bits.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from engine.graph import Node
from engine.types import float16, float32, float64

Kernel = Callable[..., Any]


class Lowered(NamedTuple):
    """What runs a node: `kernel(*arrays, *extra, **params)`."""

    kernel: Kernel
    extra: tuple[Any, ...] = ()
    params: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class InSingle:
    """A kernel that runs float16 as float32: its intermediate results need more than float16 has."""

    kernel: Kernel

    def __call__(self, *arrays: np.ndarray, **params: Any) -> Any:
        """Return what the kernel gives, in float16 where the first array has it."""
        if arrays[0].dtype != np.float16:
            return self.kernel(*arrays, **params)
        return self.kernel(*[array.astype(np.float32) for array in arrays], **params).astype(np.float16)


@dataclass(frozen=True, slots=True)
class Writing:
    """A kernel that can be told where to write, as a ufunc can: in an array `out`. It has no other parameters."""

    kernel: Kernel

    def __call__(self, *arrays: np.ndarray, out: np.ndarray | None = None) -> Any:
        """Return what the kernel gives, in `out` if that is given."""
        return self.kernel(*arrays, out=out)


def writes_into(node: Node) -> bool:
    """Whether the primitive's kernel can be told where to write."""
    return isinstance(node.primitive.run, (np.ufunc, Writing))


SCALAR: Mapping[Any, Kernel] = {
    np.add: operator.add,
    np.subtract: operator.sub,
    np.multiply: operator.mul,
    np.divide: operator.truediv,
    np.negative: operator.neg,
}
"""Python's operators that do to NumPy's scalars what ufuncs do."""


def lowered(node: Node) -> tuple[Kernel, tuple[Any, ...], Mapping[str, Any]]:
    """Return what runs a node, as `Lowered` has it. Raises NotImplementedError where the primitive has no kernel."""
    primitive = node.primitive
    kernel = primitive.run
    if primitive.lower is not None:
        special: Lowered | None = primitive.lower(node)
        if special is not None:
            return special
    if kernel is None:
        raise NotImplementedError(f"primitive {primitive.name} has no kernel")
    if type(kernel) is Writing or (type(kernel) is InSingle and node.inputs[0].dtype is not float16):
        kernel = kernel.kernel
    elif primitive.kind == "elementwise" and not node.outputs[0].shape and node.inputs[0].dtype in (float32, float64):
        kernel = SCALAR.get(kernel, kernel)
    return kernel, (), node.params
