"""The kernel that NumPy's plans call for a node: the primitive's, or a faster one that gives the same.

For tiny tensors a call of NumPy's dispatch costs more than the arithmetic, so that an array's own method, or Python's
operator on NumPy scalars (0.04 µs, against 0.5 µs of a ufunc), is most of the gain. Every way of running a plan takes
the kernel from here, and so gives the same bits.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.execute.numpy.products import product, small_product
from engine.graph.graph import Node, Traits
from engine.graph.kernel import InSingle, Kernel, Writing
from engine.graph.primitive import Lowering
from engine.graph.types import float16, float32, float64
from engine.ops.linalg.matmul import PRODUCT

KERNELS: Mapping[Traits, Kernel] = {PRODUCT: InSingle(product)}
"""Kernels that this executor has in place of those of primitives."""

LOWERINGS: Mapping[Traits, Lowering] = {PRODUCT: small_product}
"""What gives a node of these primitives a cheaper kernel, or None where its types allow none."""

SCALAR: Mapping[Any, Kernel] = {
    np.add: operator.add,
    np.subtract: operator.sub,
    np.multiply: operator.mul,
    np.divide: operator.truediv,
    np.negative: operator.neg,
}
"""Python's operators that do to NumPy's scalars what ufuncs do."""


def kernel_of(primitive: Traits) -> Kernel:
    """Return the kernel of a primitive. Raises NotImplementedError where there is none."""
    kernel = KERNELS.get(primitive, primitive.run)
    if kernel is None:
        raise NotImplementedError(f"primitive {primitive.name} has no kernel")
    return kernel


def lowered(node: Node) -> tuple[Kernel, tuple[Any, ...], Mapping[str, Any]]:
    """Return the cheapest kernel that the node's types allow, as `Lowered` has it: a plain tuple takes less to make.

    Raises NotImplementedError where the primitive has no kernel.
    """
    primitive = node.primitive
    lower = LOWERINGS.get(primitive, primitive.lower)
    if lower is not None:
        special = lower(node)
        if special is not None:
            return special
    kernel = kernel_of(primitive)
    if type(kernel) is Writing or (type(kernel) is InSingle and node.inputs[0].dtype is not float16):
        kernel = kernel.kernel
    elif primitive.kind == "elementwise" and not node.outputs[0].shape and node.inputs[0].dtype in (float32, float64):
        kernel = SCALAR.get(kernel, kernel)
    return kernel, (), node.params
