"""Forward mode: add the nodes that compute the tangents of outputs. `engine.compile` and `engine.check` call it.

There are no rules for forward mode. The kind of a primitive determines its tangent. A linear primitive is applied to
the tangents, a multilinear primitive to each tangent in turn. An elementwise primitive scales the tangent by its
derivative, as its gradient rule scales a cotangent. For every other primitive, reverse mode transposes the cotangents,
which are a linear function of a symbolic cotangent.

Source: Townsend 2017, "A new trick for calculating Jacobian vector products".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.autodiff.reverse import backward, cotangents_of
from engine.graph.function import ancestors
from engine.graph.graph import Node, Tensor, builder
from engine.graph.promotion import constant, convert, leaf
from engine.ops.shape.movement import expanded


def jvp(outputs: Sequence[Tensor], tangents: Mapping[Tensor, Tensor]) -> list[Tensor | None]:
    """Return the tangent of each output. `tangents` maps tensors to tangents of the same shape and dtype.

    A tangent is None if the output does not depend on any of the tensors in a differentiable way.
    """
    known = dict(tangents)
    active = builder()
    origin = active.origin
    try:
        for node in ancestors(outputs):
            if node.primitive.differentiable and any(tensor in known for tensor in node.inputs):
                active.origin = node.origin
                _push(node, known)
    finally:
        active.origin = origin
    return [known.get(output) for output in outputs]


def _push(node: Node, known: dict[Tensor, Tensor]) -> None:
    """Add the tangents of a node's results, except given tangents."""
    inputs = [known.get(tensor) for tensor in node.inputs]
    for result, tangent in zip(node.outputs, _RULES[node.primitive.kind](node, inputs), strict=True):
        if tangent is not None and result.dtype.is_differentiable and result not in known:
            converted = tangent if tangent.dtype is result.dtype else convert(tangent, dtype=result.dtype)
            known[result] = expanded(converted, result.shape)


def zeros(tensor: Tensor) -> Tensor:
    """Return zeros of a tensor's shape and dtype. They take no memory."""
    return expanded(constant(0, tensor.dtype), tensor.shape)


def _linear(node: Node, tangents: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
    operands = [
        tensor if not tensor.dtype.is_differentiable else zeros(tensor) if tangent is None else tangent
        for tensor, tangent in zip(node.inputs, tangents, strict=True)
    ]
    return _applied(node, operands)


def _multilinear(node: Node, tangents: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
    total: Sequence[Tensor | None] = (None,) * len(node.outputs)
    for position, tangent in enumerate(tangents):
        if tangent is not None:
            operands = [*node.inputs[:position], tangent, *node.inputs[position + 1 :]]
            total = [_sum(a, b) for a, b in zip(total, _applied(node, operands), strict=True)]
    return total


def _applied(node: Node, operands: Sequence[Tensor]) -> tuple[Tensor, ...]:
    made = node.primitive(*operands, **node.params)
    return tuple(made) if node.primitive.several else (made,)


def _elementwise(node: Node, tangents: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
    total: Tensor | None = None
    for position, tangent in enumerate(tangents):
        if tangent is not None:
            rule = node.primitive.rules[position]
            total = _sum(total, rule(tangent, node.outputs[0], *node.inputs, **node.params))
    return [total]


def _general(node: Node, tangents: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
    """Transpose the cotangents, which are linear in symbolic cotangents of the results."""
    stand_ins = [
        leaf(("stand-in", f"{node.index}.{result.position}"), result.dtype, result.shape, requires_grad=True)
        if result.dtype.is_differentiable
        else None
        for result in node.outputs
    ]
    moving = [position for position, tangent in enumerate(tangents) if tangent is not None]
    roots = []
    for position, cotangent in cotangents_of(node, stand_ins, moving):
        tangent = tangents[position]
        if tangent is not None and cotangent.requires_grad:
            roots.append((cotangent, tangent))
    found = iter(backward(roots, [stand_in for stand_in in stand_ins if stand_in is not None]))
    return [None if stand_in is None else next(found) for stand_in in stand_ins]


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return a or b
    return a + b


_RULES = {"linear": _linear, "multilinear": _multilinear, "elementwise": _elementwise, "general": _general}
