"""Warnings before anything runs: gradients that will be NaN although the value that they come from is masked.

`where(x > 0, sqrt(x), 0)` has a gradient of NaN at x < 0: the branch that is not taken gets a cotangent of 0, and its
own slope, which is not finite there, times 0 is NaN. What mends it is to choose a harmless input first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from engine.graph import Node, Tensor
from engine.operands import CONSTANT
from engine.trace import Trace
from engine.types import bool_

REACH = 256
"""Nodes that are followed back from a branch, a condition or an operand."""

MOST = 200
"""Choices that are looked at: a graph with more has been warned of enough."""


class Sign(IntEnum):
    """What is known of all elements of a tensor."""

    ANY = 0
    NOT_NEGATIVE = 1
    POSITIVE = 2


@dataclass(frozen=True, slots=True)
class Singular:
    """An operand of a primitive at which its slope can be infinite or NaN, unless its sign is at least `safe`."""

    operand: int = 0
    safe: Sign = Sign.POSITIVE


SINGULAR: Mapping[str, Singular] = {
    "_div": Singular(1),
    "_pow": Singular(),
    "_power": Singular(),
    "acos": Singular(),
    "acosh": Singular(),
    "asin": Singular(),
    "atanh": Singular(),
    "log": Singular(),
    "log10": Singular(),
    "log1p": Singular(safe=Sign.NOT_NEGATIVE),
    "log2": Singular(),
    "reciprocal": Singular(),
    "rsqrt": Singular(),
    "sqrt": Singular(),
}


def traps(traced: Trace, nodes: Sequence[Node]) -> tuple[str, ...]:
    """Return a warning for each choice between branches whose gradient can be NaN at elements that are not chosen.

    `nodes` are those of the forward pass, in order.
    """
    choices = [node for node in nodes if node.primitive.name == "_where" and node.outputs[0].requires_grad]
    if not choices:
        return ()
    signs = _signs(nodes)
    names = {call.index: call.described for call in traced.calls}
    found = (pair for choice in choices[:MOST] for pair in _trapped(choice, signs))
    pairs = dict.fromkeys((choice.origin, node.origin) for choice, node in found)
    return tuple(_warning(names[choice], names[at]) for choice, at in pairs if choice is not None and at is not None)


def _warning(choice: str, at: str) -> str:
    return (
        f"{choice}: where the branch with {at} is not taken its gradient can still be NaN, because the slope of {at} "
        f"is not finite for all values that the condition leaves out, and 0 times that is NaN. Choose a harmless "
        f"input first: give {at} the result of where(condition, input, 1), and keep this choice behind it."
    )


def _trapped(choice: Node, signs: Mapping[Tensor, Sign]) -> Iterator[tuple[Node, Node]]:
    """Yield the choice with each node of one branch that has a singular slope at what the condition tests."""
    condition, *branches = choice.inputs
    tested = {tensor for operand in _compared(condition) for tensor in _back(operand)}
    for branch, other in (branches, reversed(branches)):
        elsewhere = {tensor.node for tensor in (*_back(other), *_back(condition))}
        for tensor in _back(branch):
            node = tensor.node
            singular = SINGULAR.get(node.primitive.name)
            if singular is None or node.origin == choice.origin or node in elsewhere or not tensor.requires_grad:
                continue
            operand = node.inputs[singular.operand]
            if _is_finite(node, signs[operand], singular) or tested.isdisjoint(_back(operand)):
                continue
            yield choice, node


def _is_finite(node: Node, sign: Sign, singular: Singular) -> bool:
    """Return whether the slope is finite for every value that the operand can have."""
    exponent = node.params.get("exponent")
    if exponent is not None and exponent >= 1 and (float(exponent).is_integer() or sign >= Sign.NOT_NEGATIVE):
        return True
    return sign >= singular.safe


def _back(tensor: Tensor) -> list[Tensor]:
    """Return a tensor and what it is made of element by element, up to other choices."""
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
    return (primitive.kind == "elementwise" and primitive.name != "_where") or primitive.view or primitive.pointwise


def _compared(condition: Tensor) -> list[Tensor]:
    """Return what the condition compares with a constant, and whatever it compares that requires grad."""
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
    """Return what is known of the sign of every tensor."""
    signs: dict[Tensor, Sign] = {}
    for node in nodes:
        given = [signs.get(tensor, Sign.ANY) for tensor in node.inputs]
        sign = _sign(node, given)
        for tensor in node.outputs:
            signs[tensor] = sign
    return signs


def _sign(node: Node, given: list[Sign]) -> Sign:
    name = node.primitive.name
    if node.primitive is CONSTANT:
        value = node.params["value"]
        return Sign.POSITIVE if value > 0 else Sign.NOT_NEGATIVE if value == 0 else Sign.ANY
    if name in _RULES:
        return _RULES[name](node, given)
    if given and (node.primitive.view or node.primitive.pointwise):
        return given[0]
    return Sign.ANY


def _known(sign: Sign) -> Callable[[Node, list[Sign]], Sign]:
    return lambda node, given: sign


def _least(node: Node, given: list[Sign]) -> Sign:
    return min(given)


def _most(node: Node, given: list[Sign]) -> Sign:
    return max(given)


def _added(node: Node, given: list[Sign]) -> Sign:
    return max(given) if min(given) else Sign.ANY


def _multiplied(node: Node, given: list[Sign]) -> Sign:
    return max(min(given), Sign.NOT_NEGATIVE) if node.inputs[0] is node.inputs[1] else min(given)


def _quotient(node: Node, given: list[Sign]) -> Sign:
    return given[0] if given[1] is Sign.POSITIVE else min(given)


def _magnitude(node: Node, given: list[Sign]) -> Sign:
    return max(given[0], Sign.NOT_NEGATIVE)


def _powered(node: Node, given: list[Sign]) -> Sign:
    return _magnitude(node, given) if node.params["exponent"] % 2 == 0 else given[0]


def _chosen(node: Node, given: list[Sign]) -> Sign:
    return min(given[1:])


_RULES: Mapping[str, Callable[[Node, list[Sign]], Sign]] = {
    "_add": _added,
    "_clamp_max": _least,
    "_clamp_min": _most,
    "_div": _quotient,
    "_normal_cdf": _known(Sign.POSITIVE),
    "_power": _powered,
    "_relu": _known(Sign.NOT_NEGATIVE),
    "_softmax": _known(Sign.POSITIVE),
    "_softplus": _known(Sign.POSITIVE),
    "_sum": _least,
    "_vector_norm": _known(Sign.NOT_NEGATIVE),
    "_where": _chosen,
    "abs": _magnitude,
    "cosh": _known(Sign.POSITIVE),
    "exp": _known(Sign.POSITIVE),
    "expm1": _least,
    "log1p": _least,
    "maximum": _most,
    "minimum": _least,
    "mul": _multiplied,
    "reciprocal": _least,
    "rsqrt": _least,
    "sigmoid": _known(Sign.POSITIVE),
    "sqrt": _magnitude,
    "square": _magnitude,
    "tanh": _least,
}
