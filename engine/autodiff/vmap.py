"""Batching: add a leading axis to a graph. `engine.compile`, `engine.check` and `unit_vectors` call it.

Every primitive accepts an additional leading axis on all its inputs and returns results with this axis (tests check
each primitive). There are no rules for single primitives: inputs without the axis are expanded without a copy, and
elementwise primitives broadcast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.graph.function import ancestors
from engine.graph.graph import Node, Tensor, builder
from engine.ops.shape.movement import expanded, reshaped


def batched(outputs: Sequence[Tensor], mapped: Mapping[Tensor, Tensor], size: int) -> list[Tensor]:
    """Return each output with a leading axis of `size`, the axis of the mapped tensors.

    `mapped` maps tensors to the tensors of all indices, of shape (size, *tensor.shape). An output that depends on none
    of them is expanded.
    """
    known = dict(mapped)
    active = builder()
    origin = active.origin
    try:
        for node in ancestors(outputs):
            if any(tensor in known for tensor in node.inputs) and not all(out in known for out in node.outputs):
                active.origin = node.origin
                for result, made in zip(node.outputs, with_axis(node, known, size), strict=True):
                    known.setdefault(result, made)
    finally:
        active.origin = origin
    return [known[output] if output in known else lifted(output, size) for output in outputs]


def lifted(tensor: Tensor, size: int) -> Tensor:
    """Return the tensor expanded along a new leading axis of `size`."""
    return expanded(reshaped(tensor, (1, *tensor.shape)), (size, *tensor.shape))


def with_axis(node: Node, known: Mapping[Tensor, Tensor], size: int) -> tuple[Tensor, ...]:
    """Return a node's results with a leading axis of `size`. `known` has all inputs with this axis."""
    primitive, params = node.primitive, node.params
    if primitive.kind == "elementwise":
        rank = max(tensor.ndim for tensor in node.inputs)
        operands = [_aligned(tensor, known, size, rank) for tensor in node.inputs]
    else:
        operands = [known[tensor] if tensor in known else lifted(tensor, size) for tensor in node.inputs]
    if "shape" in params:
        params = {**params, "shape": (size, *params["shape"])}
    made = primitive(*operands, **params)
    return tuple(made) if primitive.several else (made,)


def _aligned(tensor: Tensor, known: Mapping[Tensor, Tensor], size: int, rank: int) -> Tensor:
    """Return an operand of an elementwise node. A batched operand has its leading axis before all dimensions."""
    if tensor not in known:
        return tensor
    return reshaped(known[tensor], (size, *(1,) * (rank - tensor.ndim), *tensor.shape))
