"""Choose the kernel of a node for NumPy: the primitive's kernel, or a faster one with the same result.

For tiny tensors, NumPy's dispatch costs more than the arithmetic. An array method, or Python's operator on NumPy
scalars (0.04 µs, compared with 0.5 µs for a ufunc), avoids most of that cost. The NumPy lowering takes every kernel
from here, so all ways of running a plan return the same bits.
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
"""Kernels of this executor that replace a primitive's kernel."""

LOWERINGS: Mapping[Traits, Lowering] = {PRODUCT: small_product}
"""For a primitive, the function that returns a cheaper kernel for a node, or None if the node's types allow none."""

SCALAR: Mapping[Any, Kernel] = {
    np.add: operator.add,
    np.subtract: operator.sub,
    np.multiply: operator.mul,
    np.divide: operator.truediv,
    np.negative: operator.neg,
}
"""Python operators that are equivalent to ufuncs on NumPy scalars."""


def kernel_of(primitive: Traits) -> Kernel:
    """Return the kernel of a primitive. Raises NotImplementedError if there is none."""
    kernel = KERNELS.get(primitive, primitive.run)
    if kernel is None:
        raise NotImplementedError(f"primitive {primitive.name} has no kernel")
    return kernel


def lowered(node: Node) -> tuple[Kernel, tuple[Any, ...], Mapping[str, Any]]:
    """Return the cheapest kernel for the node's types: the fields of `Lowered` in a plain tuple, which is cheaper.

    Raises NotImplementedError if the primitive has no kernel.
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
