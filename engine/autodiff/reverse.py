"""Reverse mode: add the nodes that compute the cotangents of targets. `engine.compile` and `engine.check` call it.

One backward walk visits the nodes between the targets and the roots. The rules add ordinary nodes to the same graph:
gradients can be differentiated again.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from engine.graph.graph import Node, Tensor, builder
from engine.graph.promotion import convert
from engine.ops.reduction.sums import sum_to

Edge = tuple[Node, Tensor, Tensor]
"""A node, one of its inputs, and the cotangent of this input from the node's rule."""

_INDEX = attrgetter("index")


def backward(
    roots: Sequence[tuple[Tensor, Tensor]], targets: Sequence[Tensor], edges: list[Edge] | None = None
) -> list[Tensor | None]:
    """Return the gradient of sum(<seed, root>) for each target. `roots` are pairs of a root and a seed of its shape.

    A gradient has its target's shape and dtype. It is None if no root depends on the target. If `edges` is given, the
    cotangent of each edge of the walk is added to it.
    """
    wanted = set(targets)
    order = _between(wanted, [root for root, _ in roots])
    on_path = set(order)
    cotangents: dict[Tensor, Tensor] = {}
    for root, seed in roots:
        _accumulate(cotangents, root, seed)
    active = builder()
    origin = active.origin
    try:
        for node in reversed(order):
            active.origin = node.origin
            _pull_back(node, cotangents, wanted, on_path, edges)
    finally:
        active.origin = origin
    return [cotangents.get(target) for target in targets]


def _between(targets: set[Tensor], roots: Sequence[Tensor]) -> list[Node]:
    """Return the nodes on recorded paths from the targets to the roots, in the graph's order."""
    seen: set[Node] = set()
    stack = [root.node for root in roots if root.requires_grad]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack += [tensor.node for tensor in node.inputs if tensor.requires_grad]
    reached: set[Node] = set()
    order: list[Node] = []
    for node in sorted(seen, key=_INDEX):
        for tensor in node.inputs:
            if tensor.requires_grad and (tensor in targets or tensor.node in reached):
                reached.add(node)
                order.append(node)
                break
    return order


def _pull_back(
    node: Node, cotangents: dict[Tensor, Tensor], wanted: set[Tensor], on_path: set[Node], edges: list[Edge] | None
) -> None:
    """Add the cotangents of a node's inputs to `cotangents`, and to `edges` if it is given."""
    grads = [cotangents.get(result) for result in node.outputs]
    if grads.count(None) == len(grads):
        return
    inputs = node.inputs
    needed = [
        position
        for position, tensor in enumerate(inputs)
        if tensor.requires_grad and (tensor.node in on_path or tensor in wanted)
    ]
    for position, cotangent in cotangents_of(node, grads, needed):
        _accumulate(cotangents, inputs[position], cotangent)
        if edges is not None:
            edges.append((node, inputs[position], cotangent))


def cotangents_of(node: Node, grads: Sequence[Tensor | None], needed: Sequence[int]) -> list[tuple[int, Tensor]]:
    """Return the cotangents of the inputs at the positions `needed`, in their shapes and dtypes.

    `grads` are the cotangents of the node's results; absent cotangents are None.
    """
    primitive, inputs, params = node.primitive, node.inputs, node.params
    grad, out = (grads, node.outputs) if primitive.several else (grads[0], node.outputs[0])
    every = None if primitive.joint is None else primitive.joint(grad, out, *inputs, **params)
    found: list[tuple[int, Tensor]] = []
    for position in needed:
        if every is not None:
            cotangent = every[position]
        else:
            rule = primitive.rules.get(position)
            if rule is None:
                raise NotImplementedError(f"{primitive.name} has no gradient rule for input {position}")
            cotangent = rule(grad, out, *inputs, **params)
        if cotangent is not None:
            found.append((position, _fitted(cotangent, inputs[position])))
    return found


def _fitted(cotangent: Tensor, tensor: Tensor) -> Tensor:
    """Return a cotangent summed to the shape of its tensor, before broadcasting, in the tensor's dtype."""
    if cotangent.shape != tensor.shape:
        cotangent = sum_to(cotangent, tensor.shape)
    return cotangent if cotangent.dtype is tensor.dtype else convert(cotangent, dtype=tensor.dtype)


def _accumulate(cotangents: dict[Tensor, Tensor], tensor: Tensor, cotangent: Tensor) -> None:
    known = cotangents.get(tensor)
    cotangents[tensor] = cotangent if known is None else known + cotangent
