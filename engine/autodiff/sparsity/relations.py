"""The dependence of the elements of a node's results on the elements of its inputs, without values.

A relation goes through *hubs*: an element of the input leads to some hubs, and each hub to some elements of the result.
An element that is only moved is its own hub. A sum has one hub for each result, a matrix product one for each row. An
unknown dependence has a single hub: every result depends on every input. A relation contains all pairs with a nonzero
derivative, and can contain more.

For most primitives the kind is enough: linear primitives run on the indices of the elements. For the others, the
parameters (`dim`, `dims`, `kernel`), the declared number of trailing dimensions or a declared relation are used.
`engine.autodiff.sparsity.pattern` calls `relations`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

import numpy as np

from engine.graph.graph import Node, Tensor
from engine.graph.relation import EACH, PROBE, Array, Relation, Side, numbered, through, without
from engine.graph.types import Shape

Pairs = list[tuple[int, int]]
"""Positions of an input and a result with a derivative."""


def relations(node: Node, moving: Sequence[int]) -> list[Relation]:
    """Return the relations of the node's differentiable results to its inputs at the positions `moving`."""
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
        return _by_dimensions(node, pairs)  # an index is a value: its target is unknown
    moved = _moved(node)
    if moved is None:
        return _by_coefficients(node, pairs)
    starts = _starts(node.inputs)
    return (
        Relation(i, r, EACH, _within(moved[r], starts[i], node.inputs[i].numel), node.inputs[i].numel) for i, r in pairs
    )


def _starts(tensors: Sequence[Tensor]) -> list[int]:
    """Return the number of each tensor's first element. The elements of all tensors are numbered from 1."""
    return list(accumulate([tensor.numel for tensor in tensors], initial=1))


def _within(moved: Array, start: int, size: int) -> Side:
    """Return the elements of the result that come from the input with elements numbered from `start`."""
    elements = np.flatnonzero((moved >= start) & (moved < start + size))
    return Side(moved[elements] - start, elements)


def _moved(node: Node) -> list[Array] | None:
    """Return the number of the input element that each result element copies (0 for none), or None if it is no copy.

    The primitive runs on the elements' numbers and on random numbers. Both must arrive unchanged at the same positions.
    """
    count = sum(tensor.numel for tensor in node.inputs)
    draws = np.concatenate([[0.0], np.random.default_rng(0).uniform(1, 2, count)])
    positions = _run(node, np.arange(1.0, count + 1))
    found = []
    for position, drawn in zip(positions, _run(node, draws[1:]), strict=True):
        numbers = position.astype(np.intp)
        inside = (numbers == position) & (numbers >= 0) & (numbers <= count)
        if not inside.all() or not np.array_equal(draws[numbers], drawn):
            return None
        found.append(numbers)
    return found


def _run(node: Node, numbers: Array, lead: Shape = ()) -> list[Array]:
    """Return the flat results, of shape (*lead, -1), of a primitive. `numbers` fill the inputs in order."""
    ends = np.cumsum([tensor.numel for tensor in node.inputs])[:-1]
    parts = np.split(numbers, ends, axis=-1)
    arrays = [part.reshape((*lead, *tensor.shape)) for part, tensor in zip(parts, node.inputs, strict=True)]
    params = dict(node.params)
    if "shape" in params:
        params["shape"] = (*lead, *params["shape"])
    made = node.primitive.bind(params)(*arrays)
    return [np.asarray(array).reshape((*lead, -1)) for array in (made if node.primitive.several else (made,))]


def _by_coefficients(node: Node, pairs: Pairs) -> Iterator[Relation]:
    """Compute a linear primitive's coefficients from the unit vectors, if the work is at most PROBE."""
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
    """Relate elements along the named dimensions, or within each index of a batch, or all elements."""
    for position, result in pairs:
        input, out = node.inputs[position].shape, node.outputs[result].shape
        hubs = _along(node, input, out) or _batch(node, input, out) or ((1,) * len(input), (1,) * len(out))
        yield through(position, result, (hubs[0], input), (hubs[1], out))


def _along(node: Node, input: Shape, out: Shape) -> tuple[Shape, Shape] | None:
    """Return the shapes of hubs, for the input and the result, over the dimensions that no parameter names."""
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
    """Return the shapes of hubs over the leading dimensions, for the input and for the result."""
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
    """Return the number of trailing dimensions that a primitive works on, or None if it is unknown."""
    primitive, params = node.primitive, node.params
    known = primitive.core(params)
    if known is None and "kernel" in params:
        return len(params["kernel"])
    return primitive.trailing if known is None else known


_KINDS: dict[str, Callable[[Node, Pairs], Iterator[Relation]]] = {
    "elementwise": _elementwise,
    "linear": _linear,
}
