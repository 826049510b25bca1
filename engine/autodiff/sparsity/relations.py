"""Which elements of a node's results can depend on which elements of its inputs, found without running it on values.

A relation goes through *hubs*: an element of the input leads to some hubs, and each hub to some elements of the result.
Elements that are only moved are hubs themselves; a sum has one hub for each of its results; a product of matrices one
for each row; what is not known has a single hub, through which everything depends on everything. A relation may hold
more pairs than the derivative has nonzeros, never fewer.

What a primitive's kind says is enough for most: linear ones are run on numbers that name the elements. The rest is said
by their parameters (`dim`, `dims`, `kernel`), by the number of trailing dimensions that they declare, or by a relation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

import numpy as np

from engine.graph.graph import Node, Tensor
from engine.graph.relation import EACH, PROBE, Array, Relation, Side, numbered, through, without
from engine.graph.types import Shape

Pairs = list[tuple[int, int]]
"""Inputs and results that have derivatives, by position."""


def relations(node: Node, moving: Sequence[int]) -> list[Relation]:
    """Return how the node's differentiable results depend on its inputs at the positions `moving`."""
    pairs = [(i, r) for i in moving for r, result in enumerate(node.outputs) if result.dtype.is_differentiable]
    if node.primitive.pointwise:
        return [Relation(i, r, EACH, EACH, node.inputs[i].numel) for i, r in pairs]
    by_kind = _KINDS.get(node.primitive.kind, _by_dimensions)
    declared = node.primitive.relation
    if declared is None:
        return list(by_kind(node, pairs))
    found = {pair: declared(node, *pair) for pair in pairs}
    unknown = [pair for pair in pairs if found[pair] is None]
    return [*filter(None, found.values()), *by_kind(node, unknown)]


def _elementwise(node: Node, pairs: Pairs) -> Iterator[Relation]:
    for position, result in pairs:
        input, shape = node.inputs[position], node.outputs[result].shape
        target = EACH if input.shape == shape else Side(numbered(input.shape, shape))
        yield Relation(position, result, EACH, target, input.numel)


def _linear(node: Node, pairs: Pairs) -> Iterator[Relation]:
    if node.primitive.sums or not all(tensor.dtype.is_differentiable for tensor in node.inputs):
        return _by_dimensions(node, pairs)  # an index is a value: where it points to is not known
    moved = _moved(node)
    if moved is None:
        return _by_coefficients(node, pairs)
    starts = _starts(node.inputs)
    return (
        Relation(i, r, EACH, _within(moved[r], starts[i], node.inputs[i].numel), node.inputs[i].numel) for i, r in pairs
    )


def _starts(tensors: Sequence[Tensor]) -> list[int]:
    """Return the number of each tensor's first element, when the elements of all are numbered from 1."""
    return list(accumulate([tensor.numel for tensor in tensors], initial=1))


def _within(moved: Array, start: int, size: int) -> Side:
    """Return which elements of the result come from the input whose elements are numbered from `start`."""
    elements = np.flatnonzero((moved >= start) & (moved < start + size))
    return Side(moved[elements] - start, elements)


def _moved(node: Node) -> list[Array] | None:
    """Return for each element of the results which input element it is, 0 for none; None if it does more than move.

    The primitive runs on the elements' numbers, and on random ones: both must land in the same places, unchanged.
    """
    count = sum(tensor.numel for tensor in node.inputs)
    marks = np.concatenate([[0.0], np.random.default_rng(0).uniform(1, 2, count)])
    places = _run(node, np.arange(1.0, count + 1))
    found = []
    for place, mark in zip(places, _run(node, marks[1:]), strict=True):
        numbers = place.astype(np.intp)
        inside = (numbers == place) & (numbers >= 0) & (numbers <= count)
        if not inside.all() or not np.array_equal(marks[numbers], mark):
            return None
        found.append(numbers)
    return found


def _run(node: Node, numbers: Array, lead: Shape = ()) -> list[Array]:
    """Return the results of a primitive, flat behind `lead`, on inputs that the numbers fill one after the other."""
    ends = np.cumsum([tensor.numel for tensor in node.inputs])[:-1]
    parts = np.split(numbers, ends, axis=-1)
    arrays = [part.reshape((*lead, *tensor.shape)) for part, tensor in zip(parts, node.inputs, strict=True)]
    params = dict(node.params)
    if "shape" in params:
        params["shape"] = (*lead, *params["shape"])
    made = node.primitive.bind(params)(*arrays)
    return [np.asarray(array).reshape((*lead, -1)) for array in (made if node.primitive.several else (made,))]


def _by_coefficients(node: Node, pairs: Pairs) -> Iterator[Relation]:
    """Read a linear primitive's coefficients off what it makes of the unit vectors, if they are few enough."""
    count = sum(tensor.numel for tensor in node.inputs)
    if count * (count + sum(result.numel for result in node.outputs)) > PROBE:
        yield from _by_dimensions(node, pairs)
        return
    coefficients = _run(node, np.eye(count), (count,))
    starts = _starts(node.inputs)
    for i, r in pairs:
        first = starts[i] - 1
        elements, hubs = np.nonzero(coefficients[r][first : first + node.inputs[i].numel])
        yield Relation(i, r, Side(hubs, elements), EACH, node.outputs[r].numel)


def _by_dimensions(node: Node, pairs: Pairs) -> Iterator[Relation]:
    """Let a primitive mix along the dimensions that it names, or inside of each index of a batch, or everything."""
    for position, result in pairs:
        input, out = node.inputs[position].shape, node.outputs[result].shape
        hubs = _along(node, input, out) or _batch(node, input, out) or ((1,) * len(input), (1,) * len(out))
        yield through(position, result, (hubs[0], input), (hubs[1], out))


def _along(node: Node, input: Shape, out: Shape) -> tuple[Shape, Shape] | None:
    """Return hubs that keep the dimensions which no parameter names: beside the input, and beside the result."""
    params = node.params
    dims = params["dims"] if "dims" in params else (params["dim"],) if "dim" in params else None
    if dims is None:
        return None
    hubs = without(input, dims)
    if len(out) == len(input):
        return (hubs, hubs) if without(out, dims) == hubs else None
    reduced = tuple(size for dim, size in enumerate(input, -len(input)) if dim not in dims)
    return (hubs, out) if out == reduced else None


def _batch(node: Node, input: Shape, out: Shape) -> tuple[Shape, Shape] | None:
    """Return hubs for the leading dimensions: beside the input, and beside the result."""
    own = _trailing(node)
    if own is None:
        return None
    rank = max(tensor.ndim for tensor in node.inputs if tensor.dtype.is_differentiable) - own
    lead = input[: len(input) - own]
    if not lead or len(lead) > rank or len(out) < rank:
        return None
    if any(size not in (1, whole) for size, whole in zip(reversed(lead), reversed(out[:rank]), strict=False)):
        return None
    return (*lead, *(1,) * own), (*lead, *(1,) * (len(out) - rank))


def _trailing(node: Node) -> int | None:
    """Return how many trailing dimensions a primitive works on, if that is known."""
    primitive, params = node.primitive, node.params
    known = primitive.core(params)
    if known is None and "kernel" in params:
        return len(params["kernel"])
    return primitive.trailing if known is None else known


_KINDS: dict[str, Callable[[Node, Pairs], Iterator[Relation]]] = {
    "elementwise": _elementwise,
    "linear": _linear,
}
