"""Rules that primitives declare of themselves: operations, effort, workspace, sign and layout, as functions of a node.

Operations are those of the textbook's algorithm. An addition, a product and a comparison count one each, a quotient or
root 4, and an exponential or another function about as many as its polynomial has terms. Effort is measured time, in
operations of loops in cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from engine.graph.graph import Node, Tensor
from engine.graph.signs import Sign
from engine.graph.types import Shape, numel

Count = Callable[[Node], int]
"""From a node to a number of operations, or of bytes."""

CALL = 15_000
"""Operations of loops that take as long as a call of NumPy on a small array: a microsecond."""

LOOP = 200
"""Operations that NumPy takes to begin an inner loop, measured in sums of operands that broadcast."""

STRIDED = 8
"""Operations for each element of a loop that reads or writes memory in strides."""

START = 1_200
"""Operations that BLAS takes to begin a product of matrices of a batch."""

DIRECT, ITERATIVE = CALL, 10 * CALL
"""Operations that LAPACK takes for a matrix of any size, in a direct and in an iterative method."""

# Operations


def moves(node: Node) -> int:
    """No operations: elements are only moved, and bytes count by themselves."""
    return 0


def per_result(weight: int) -> Count:
    """Return the rule of `weight` operations for each element of the first result."""
    return lambda node: weight * node.outputs[0].numel


def per_input(weight: int) -> Count:
    """Return the rule of `weight` operations for each element of the first input."""
    return lambda node: weight * node.inputs[0].numel


def per_element(weight: int) -> Count:
    """Return the rule of `weight` operations for each element of the node's largest input or result."""
    return lambda node: weight * max([tensor.numel for tensor in (*node.inputs, *node.outputs)])


def results(node: Node) -> Tensor:
    """Return the first result of a node."""
    return node.outputs[0]


def inputs(node: Node) -> Tensor:
    """Return the first input of a node."""
    return node.inputs[0]


def per_window(weight: int, windows: Callable[[Node], Tensor]) -> Count:
    """Return the rule of `weight` operations for each place of each window.

    `windows` returns the tensor with one element for each window; the parameter `kernel` has the sizes of a window.
    """
    return lambda node: weight * windows(node).numel * prod(node.params["kernel"])


def decomposition(weight: float) -> Count:
    """Return the rule of a decomposition: `weight` times m * n * min(m, n), for each matrix (m, n) of the first input.

    Source: Golub and Van Loan 2013, "Matrix computations", tables of each chapter.
    """

    def rule(node: Node) -> int:
        *_, rows, columns = node.inputs[0].shape
        return round(weight * node.inputs[0].numel * min(rows, columns))

    return rule


def substitution(node: Node) -> int:
    """(*batch, n, n) and (*batch, n, k): n n k operations for each matrix."""
    return node.outputs[0].numel * node.inputs[0].shape[-1]


# Effort


def per_operand(node: Node) -> int:
    """Two calls of NumPy for each input and each result: the kernel takes one after the other."""
    return 2 * CALL * (len(node.inputs) + len(node.outputs))


def per_place(calls: int, windows: Callable[[Node], Tensor]) -> Count:
    """Return the rule of so many calls of NumPy for each place in a window, each on as many elements as windows."""

    def rule(node: Node) -> int:
        tensor, kernel = windows(node), node.params["kernel"]
        loops = tensor.numel // max(tensor.shape[-1], 1)
        return calls * numel(kernel) * (CALL + STRIDED * tensor.numel + LOOP * loops)

    return rule


def per_matrix(weight: float, start: int) -> Count:
    """Return the rule of a decomposition, and `start` operations for each matrix of the first input."""
    each = decomposition(weight)
    return lambda node: each(node) + start * prod(node.inputs[0].shape[:-2])


def along_dims(weight: int, passes: int = 1) -> Count:
    """Return the rule of `weight` operations for each element of the first input, and of loops in `passes` reductions.

    The dimensions are the parameter `dims` or `dim`.
    """

    def rule(node: Node) -> int:
        shape, params = node.inputs[0].shape, node.params
        dims = params["dims"] if "dims" in params else (params["dim"],)
        reduced = [dim in dims for dim in range(-len(shape), 0)]
        return weight * node.inputs[0].numel + 3 * passes * LOOP * _loops(shape, reduced)

    return rule


def broadcast(weight: int) -> Count:
    """Return the rule of an elementwise kernel: `weight` operations for each element, and of loops if it broadcasts."""

    def rule(node: Node) -> int:
        out = node.outputs[0]
        work = weight * out.numel
        for tensor in node.inputs:
            if tensor.shape != out.shape and tensor.numel > 1:
                work += LOOP * _loops(out.shape, _repeated(tensor.shape, len(out.shape)))
        return work

    return rule


def _repeated(shape: Shape, rank: int) -> list[bool]:
    """Return for each of `rank` dimensions whether a tensor of that shape has one element along it."""
    return [True] * (rank - len(shape)) + [size == 1 for size in shape]


def _loops(shape: Shape, kinds: Sequence[bool]) -> int:
    """Return how many inner loops NumPy makes: one for each run of elements along the last dimensions of one kind."""
    inner, numel, last = 1, prod(shape), None
    for size, kind in zip(reversed(shape), reversed(kinds), strict=True):
        if size == 1:
            continue
        if last is not None and kind != last:
            break
        inner, last = inner * size, kind
    return numel // max(inner, 1)


# Workspace


def size(tensor: Tensor) -> int:
    """Return the bytes of a tensor."""
    return tensor.numel * tensor.dtype.itemsize


def arrays(count: int) -> Count:
    """Return the rule of a workspace of `count` arrays of the size of the node's largest input or result."""
    if not count:
        return in_place
    return lambda node: count * max([size(tensor) for tensor in (*node.inputs, *node.outputs)])


def in_place(node: Node) -> int:
    """No workspace: the kernel allocates its results alone."""
    return 0


# Signs


def known(sign: Sign) -> Callable[[Node, list[Sign]], Sign]:
    """Return the rule of a result whose sign does not depend on the operands."""
    return lambda node, given: sign


def least(node: Node, given: list[Sign]) -> Sign:
    """The result has a sign that all operands have."""
    return min(given)


def most(node: Node, given: list[Sign]) -> Sign:
    """The result has each sign that one of the operands has."""
    return max(given)


def magnitude(node: Node, given: list[Sign]) -> Sign:
    """The result is not negative, and positive where the operand is."""
    return max(given[0], Sign.NOT_NEGATIVE)


# Layout


def turned(sizes: tuple[Any, ...], rank: int) -> tuple[Any, ...]:
    """Return the sizes with the first of the last `rank` moved to the end."""
    first = len(sizes) - rank
    return (*sizes[:first], *sizes[first + 1 :], sizes[first])


def with_dims(node: Node, rank: int) -> dict[str, Any]:
    """Return the parameters of a node that names its dimensions, with the first of the last `rank` moved to the end."""
    dims = [dim - 1 if dim > -rank else -1 if dim == -rank else dim for dim in node.params["dims"]]
    return {**node.params, "dims": tuple(dims)}
