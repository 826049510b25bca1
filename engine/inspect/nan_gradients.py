"""Warnings, before a run, of gradients that can be NaN because of a branch that `where` does not select.

`where(x > 0, sqrt(x), 0)` has the gradient NaN at x < 0. The cotangent of the branch `sqrt(x)` is 0 there, its
derivative is not finite, and the product is NaN. The user avoids it by `sqrt(where(x > 0, x, 1))`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from engine.graph.graph import Node, Tensor
from engine.graph.promotion import CONSTANT
from engine.graph.signs import Sign, Singular
from engine.graph.types import bool_
from engine.program.trace import Trace

REACH = 256
"""Maximum number of ancestors that the search visits from a branch, a condition or an operand."""

MOST = 200
"""Maximum number of nodes like `where` that are checked in a graph."""


def nan_gradient_warnings(traced: Trace, nodes: Sequence[Node]) -> tuple[str, ...]:
    """Return a warning for each op like `where` whose gradient can be NaN because of the elements not selected.

    `nodes` are the nodes of the forward pass in topological order.
    """
    choices = [node for node in nodes if node.primitive.chooses and node.outputs[0].requires_grad]
    if not choices:
        return ()
    signs = _signs(nodes)
    names = {call.index: call.described for call in traced.calls}
    found = (pair for choice in choices[:MOST] for pair in _singular_branches(choice, signs))
    pairs = dict.fromkeys((choice.origin, node.origin) for choice, node in found)
    return tuple(_warning(names[choice], names[at]) for choice, at in pairs if choice is not None and at is not None)


def _warning(choice: str, at: str) -> str:
    return (
        f"{choice}: where the branch with {at} is not taken its gradient can still be NaN, because the slope of {at} "
        f"is not finite for all values that the condition leaves out, and 0 times that is NaN. Choose a harmless "
        f"input first: give {at} the result of where(condition, input, 1), and keep this choice behind it."
    )


def _singular_branches(choice: Node, signs: Mapping[Tensor, Sign]) -> Iterator[tuple[Node, Node]]:
    """Yield the choice with each node of one branch whose derivative can be infinite where the condition excludes it.

    The operand of such a node depends on a tensor that the condition compares.
    """
    condition, *branches = choice.inputs
    tested = {tensor for operand in _compared(condition) for tensor in _back(operand)}
    for branch, other in (branches, reversed(branches)):
        elsewhere = {tensor.node for tensor in (*_back(other), *_back(condition))}
        for tensor in _back(branch):
            node = tensor.node
            singular = node.primitive.singular
            if singular is None or node.origin == choice.origin or node in elsewhere or not tensor.requires_grad:
                continue
            operand = node.inputs[singular.operand]
            if _is_finite(node, signs[operand], singular) or tested.isdisjoint(_back(operand)):
                continue
            yield choice, node


def _is_finite(node: Node, sign: Sign, singular: Singular) -> bool:
    """Return whether the derivative is finite for every value of the operand with this sign."""
    exponent = node.params.get("exponent")
    if exponent is not None and exponent >= 1 and (float(exponent).is_integer() or sign >= Sign.NOT_NEGATIVE):
        return True
    return sign >= singular.safe


def _back(tensor: Tensor) -> list[Tensor]:
    """Return a tensor and its ancestors through elementwise nodes, up to other choices."""
    found: dict[Tensor, None] = {}
    stack = [tensor]
    while stack and len(found) < REACH:
        reached = stack.pop()
        if reached not in found and reached.node.primitive is not CONSTANT:
            found[reached] = None
            if _is_elementwise(reached.node):
                stack.extend(reached.node.inputs)
    return list(found)


def _is_elementwise(node: Node) -> bool:
    primitive = node.primitive
    return (primitive.kind == "elementwise" and not primitive.chooses) or primitive.view or primitive.pointwise


def _compared(condition: Tensor) -> list[Tensor]:
    """Return the floating operands of comparisons that require grad or are compared with a constant."""
    nodes = [tensor.node for tensor in _back(condition) if tensor.dtype is bool_]
    return [
        tensor
        for node in nodes
        for tensor in node.inputs
        if tensor.dtype.is_floating
        and (tensor.requires_grad or any(other.node.primitive is CONSTANT for other in node.inputs))
    ]


# Signs


def _signs(nodes: Sequence[Node]) -> dict[Tensor, Sign]:
    """Return the known sign of every tensor."""
    signs: dict[Tensor, Sign] = {}
    for node in nodes:
        given = [signs.get(tensor, Sign.ANY) for tensor in node.inputs]
        sign = _sign(node, given)
        for tensor in node.outputs:
            signs[tensor] = sign
    return signs


def _sign(node: Node, given: list[Sign]) -> Sign:
    if node.primitive is CONSTANT:
        value = node.params["value"]
        return Sign.POSITIVE if value > 0 else Sign.NOT_NEGATIVE if value == 0 else Sign.ANY
    if node.primitive.sign is not None:
        return node.primitive.sign(node, given)
    if given and (node.primitive.view or node.primitive.pointwise):
        return given[0]
    return Sign.ANY
