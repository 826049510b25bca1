"""Which elements of a node's results can depend on which elements of its inputs, found without running it on values.

A relation goes through *hubs*: an element of the input leads to some hubs, and each hub to some elements of the result.
Elements that are only moved are hubs themselves; a sum has one hub for each of its results; a product of matrices one
for each row; what is not known has a single hub, through which everything depends on everything. A relation may hold
more pairs than the derivative has nonzeros, never fewer.

What a primitive's kind says is enough for most: linear ones are run on numbers that name the elements. The rest is said
by their parameters (`dim`, `dims`, `kernel`) or by the table of the dimensions that they work on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from engine.graph import Node, Tensor
from engine.ops.columns import Slide, windows_of
from engine.types import Shape, numel

Array = np.ndarray[Any, Any]

PROBE = 2**22
"""Elements up to which a linear primitive that does more than move is run on all unit vectors: about 20 ms."""

TRAILING = {
    "binary_loss._probabilities": 0,
    "classification._picked": 1,
    "classification._placed": 0,
    "determinants._cofactors": 2,
    "determinants._det": 2,
    "determinants._second_derivative": 2,
    "determinants._slogdet": 2,
    "embedding._scale_gradient": 0,
    "linalg._cholesky": 2,
    "linalg._inv": 2,
    "linalg._solve": 2,
    "linalg._solve_triangular": 2,
    "likelihood_loss._variances": 0,
    "svd._svd": 2,
    "svd._svdvals": 2,
}
"""How many trailing dimensions a primitive works on, where no parameter says so; those before are a batch."""


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """Pairs of an element and a hub. Without `elements`, all of them in turn; without both, each is its own hub."""

    hubs: Array | None = None
    elements: Array | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Relation:
    """How result `result` of a node depends on input `position`: from the input's elements to hubs to the result's."""

    position: int
    result: int
    source: Side
    target: Side
    hubs: int


_EACH = Side()
Pairs = list[tuple[int, int]]
"""Inputs and results that have derivatives, by position."""


def relations(node: Node, moving: Sequence[int]) -> list[Relation]:
    """Return how the node's differentiable results depend on its inputs at the positions `moving`."""
    pairs = [(i, r) for i in moving for r, result in enumerate(node.outputs) if result.dtype.is_differentiable]
    if node.primitive.pointwise:
        return [Relation(i, r, _EACH, _EACH, node.inputs[i].numel) for i, r in pairs]
    by_kind = _KINDS.get(node.primitive.kind, _by_dimensions)
    return list(by_kind(node, pairs))


def _elementwise(node: Node, pairs: Pairs) -> Iterator[Relation]:
    for position, result in pairs:
        input, shape = node.inputs[position], node.outputs[result].shape
        target = _EACH if input.shape == shape else Side(_numbered(input.shape, shape))
        yield Relation(position, result, _EACH, target, input.numel)


def _numbered(shape: Shape, broadcast: Shape) -> Array:
    """Return for each element of a broadcast tensor the number of the element that it was."""
    return np.broadcast_to(np.arange(numel(shape)).reshape(shape), broadcast).ravel()


def _linear(node: Node, pairs: Pairs) -> Iterator[Relation]:
    if node.primitive.sums or not all(tensor.dtype.is_differentiable for tensor in node.inputs):
        return _by_dimensions(node, pairs)  # an index is a value: where it points to is not known
    moved = _moved(node)
    if moved is None:
        return _by_coefficients(node, pairs)
    starts = _starts(node.inputs)
    return (
        Relation(i, r, _EACH, _within(moved[r], starts[i], node.inputs[i].numel), node.inputs[i].numel)
        for i, r in pairs
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
        yield Relation(i, r, Side(hubs, elements), _EACH, node.outputs[r].numel)


def _multilinear(node: Node, pairs: Pairs) -> Iterator[Relation]:
    """(*batch, n, k) @ (*batch, k, m): a row of the result depends on the row of one, a column on that of the other."""
    if node.primitive.name in _CHANNELS:
        yield from (_convolution(node, position, result) for position, result in pairs)
        return
    if node.primitive.name != "_matmul":
        yield from _by_dimensions(node, pairs)
        return
    for position, result in pairs:
        input, out = node.inputs[position].shape, node.outputs[result].shape
        kept = _without(input, (-1,) if position == 0 else (-2,))
        yield _through(position, result, (kept, input), (kept, out))


_CHANNELS = {"_correlation": (None, 0), "_correlation_images": (None, 1), "_correlation_weights": (1, 0)}
"""Convolution and its transposes: for each input, along which channels of the weights a result depends on it.

0 are those of results, 1 those of images; None is where images and results depend on each other by windows.
"""


def _convolution(node: Node, position: int, result: int) -> Relation:
    """Let images and results depend on each other window by window, and the weights on channels of either."""
    by, dims = _CHANNELS[node.primitive.name][position], len(node.params["stride"])
    if by is None:
        return _by_windows(node, position, result)
    inner = range(-dims - 2, 0)
    weights = node.outputs[0] if node.primitive.name == "_correlation_weights" else node.inputs[1]
    sides = []
    for tensor in (node.inputs[position], node.outputs[result]):
        channel = -dims - 2 + (by if tensor is weights else 0)
        sides.append((_without(tensor.shape, [dim for dim in inner if dim != channel]), tensor.shape))
    return _through(position, result, sides[0], sides[1])


def _by_windows(node: Node, position: int, result: int) -> Relation:
    """Let each window of images and all channels of its results depend on each other."""
    input, out, weights = node.inputs[position], node.outputs[result], node.inputs[1].shape
    images, results = (input, out) if node.primitive.name == "_correlation" else (out, input)
    dims = len(node.params["stride"])
    lead, kernel = weights[: -dims - 2], weights[-dims:]
    hubs = (*lead, 1, *results.shape[-dims - 1 :])
    if numel(hubs) * numel(weights[-dims - 1 :]) > PROBE:
        return next(iter(_by_dimensions(node, [(position, result)])))
    slide = Slide(kernel, node.params["stride"], node.params["dilation"])
    elements = windows_of(np.arange(images.numel).reshape(images.shape), hubs[-dims - 1 : -1], slide)
    number = np.arange(numel(hubs)).reshape(*lead, 1, *(1,) * dims, *hubs[-dims - 1 :])
    window = Side(np.broadcast_to(number, elements.shape).ravel(), elements.ravel())
    whole = Side(_numbered(hubs, results.shape))
    source, target = (window, whole) if images is input else (whole, window)
    return Relation(position, result, source, target, numel(hubs))


def _by_dimensions(node: Node, pairs: Pairs) -> Iterator[Relation]:
    """Let a primitive mix along the dimensions that it names, or inside of each index of a batch, or everything."""
    for position, result in pairs:
        input, out = node.inputs[position].shape, node.outputs[result].shape
        hubs = _along(node, input, out) or _batch(node, input, out) or ((1,) * len(input), (1,) * len(out))
        yield _through(position, result, (hubs[0], input), (hubs[1], out))


def _through(position: int, result: int, source: tuple[Shape, Shape], target: tuple[Shape, Shape]) -> Relation:
    """Return the relation through hubs of a shape that broadcasts to the input's, and one that does to the result's."""
    own, others = (Side(None if hubs == shape else _numbered(hubs, shape)) for hubs, shape in (source, target))
    return Relation(position, result, own, others, numel(source[0]))


def _without(shape: Shape, dims: Sequence[int]) -> Shape:
    """Return the shape with size 1 at negative `dims`."""
    return tuple(1 if dim in dims else size for dim, size in enumerate(shape, -len(shape)))


def _along(node: Node, input: Shape, out: Shape) -> tuple[Shape, Shape] | None:
    """Return hubs that keep the dimensions which no parameter names: beside the input, and beside the result."""
    params = node.params
    dims = params["dims"] if "dims" in params else (params["dim"],) if "dim" in params else None
    if dims is None:
        return None
    hubs = _without(input, dims)
    if len(out) == len(input):
        return (hubs, hubs) if _without(out, dims) == hubs else None
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
    if known is None:
        return TRAILING.get(f"{primitive.function.__module__.rpartition('.')[2]}.{primitive.name}")
    return known


_KINDS: dict[str, Callable[[Node, Pairs], Iterator[Relation]]] = {
    "elementwise": _elementwise,
    "linear": _linear,
    "multilinear": _multilinear,
}
