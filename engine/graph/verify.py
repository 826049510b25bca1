"""The invariants of a `Function`. Tests verify each function that a pass returns."""

from __future__ import annotations

from collections.abc import Collection

from engine.graph.function import Function
from engine.graph.graph import Node, Tensor


class InvalidFunctionError(AssertionError):
    """A pass returned an invalid function."""


def verify(function: Function) -> None:
    """Raise InvalidFunctionError if a function is invalid.

    Inputs and results are defined once. A node reads inputs and results of earlier nodes. Its results reference it and
    have the types that the type rule gives. Outputs are defined. At least one output depends on each node.
    """
    defined = set(function.inputs)
    if len(defined) < len(function.inputs):
        raise InvalidFunctionError("an input is given twice")
    for node in function.nodes:
        _verify(node, defined)
        defined.update(node.outputs)
    for tensor in function.outputs:
        if tensor not in defined:
            raise InvalidFunctionError(f"the output {tensor} is not defined")
    _verify_needed(function)


def _verify(node: Node, defined: Collection[Tensor]) -> None:
    for tensor in node.inputs:
        if tensor not in defined:
            raise InvalidFunctionError(f"{node} reads {tensor}, which is not defined before it")
    for position, tensor in enumerate(node.outputs):
        if tensor in defined:
            raise InvalidFunctionError(f"{node} defines {tensor} a second time")
        if tensor.node is not node or tensor.position != position:
            raise InvalidFunctionError(f"{tensor} is not result {position} of {node}")
    types = [(tensor.dtype, tensor.shape) for tensor in node.outputs]
    expected = list(map(tuple, node.primitive.types(node.inputs, node.params)))
    if types != expected:
        raise InvalidFunctionError(f"{node} has results of the types {types}, and its rule gives {expected}")


def _verify_needed(function: Function) -> None:
    needed = set(function.outputs)
    for node in reversed(function.nodes):
        if needed.isdisjoint(node.outputs):
            raise InvalidFunctionError(f"no output depends on {node}")
        needed.update(node.inputs)
