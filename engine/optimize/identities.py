"""Nodes that give what they read: left out, so that nothing runs for them.

A gradient starts with ones, and rules multiply by what flows: a loss's first products are by one. Only what holds for
every value, NaN and signed zeros included, is left out. The graph itself stays as it is, because users see it and
differentiate by its tensors; `engine.plan` asks for the nodes that are left to run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.graph import Node, Tensor
from engine.operands import CONSTANT


def _is_one(tensor: Tensor) -> bool:
    """Whether a tensor is the constant 1, in whatever shape."""
    node = tensor.node
    while node.primitive.name in ("_expand", "_reshape"):
        node = node.inputs[0].node
    return node.primitive is CONSTANT and bool(node.params["value"] == 1)


def _product(inputs: Sequence[Tensor]) -> Tensor | None:
    first, second = inputs
    if _is_one(second):
        return first
    return second if _is_one(first) else None


def _quotient(inputs: Sequence[Tensor]) -> Tensor | None:
    return inputs[0] if _is_one(inputs[1]) else None


def _opposite(inputs: Sequence[Tensor]) -> Tensor | None:
    inner = inputs[0].node
    return inner.inputs[0] if inner.primitive.name == "neg" else None


RULES: Mapping[str, Callable[[Sequence[Tensor]], Tensor | None]] = {
    "mul": _product,
    "_div": _quotient,
    "neg": _opposite,
}
"""By primitive: which of the tensors at hand has the values of the result, if one does."""

COMMUTING = frozenset({"_add", "mul"})
"""Primitives whose operands may be exchanged without changing a bit of the result."""


def simplified(order: Sequence[Node], wanted: Sequence[Tensor]) -> tuple[list[Node], Sequence[Tensor]]:
    """Return the nodes that are left of `order`, and the tensors that have the values of those wanted.

    Nodes that read other tensors than before are new ones, merged with their equals.
    """
    same: dict[Tensor, Tensor] = {}
    known: dict[Any, Node] = {}
    left: list[Node] = []
    for node in order:
        inputs = node.inputs
        moved = bool(same) and any(tensor in same for tensor in inputs)
        if moved:
            inputs = tuple([same.get(tensor, tensor) for tensor in inputs])
        rule = RULES.get(node.primitive.name)
        found = rule(inputs) if rule is not None else None
        if found is not None and found.shape == node.outputs[0].shape:
            same[node.outputs[0]] = found
            continue
        if not node.params:
            operands = frozenset(inputs) if node.primitive.name in COMMUTING else inputs
            equal = known.setdefault((node.primitive, operands), node)
            if equal is not node:
                same.update(zip(node.outputs, [same.get(t, t) for t in equal.outputs], strict=True))
                continue
        left.append(_reading(node, inputs) if moved else node)
        if moved:
            same.update(zip(node.outputs, left[-1].outputs, strict=True))
    return left, [same.get(tensor, tensor) for tensor in wanted]


def _reading(node: Node, inputs: tuple[Tensor, ...]) -> Node:
    """Return the node on other inputs, in its place in the order."""
    made = Node(node.index, node.primitive, inputs, node.params, node.origin)
    made.outputs = tuple([Tensor(made, t.position, t.dtype, t.shape, t.numel, t.requires_grad) for t in node.outputs])
    return made
