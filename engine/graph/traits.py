"""Rules of primitives for operations, effort, workspace, sign and layout, as functions of a node.

Primitives in `engine.ops` declare these rules. Operations are the operations of the textbook algorithm. An addition, a
product and a comparison count 1, a quotient or a root 4, and an exponential or similar function about the number of
terms of its polynomial. Effort is measured time, in operations of loops in cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from engine.graph.graph import Node, Tensor
from engine.graph.signs import Sign
from engine.graph.types import Shape, numel

Count = Callable[[Node], int]
"""Function from a node to a number of operations or bytes."""

CALL = 15_000
"""Time of a NumPy call on a small array, in operations of loops: one microsecond."""

LOOP = 200
"""Time that NumPy takes to start an inner loop, in operations. Measured with sums of operands that broadcast."""

STRIDED = 8
"""Operations per element of a loop over strided memory."""

START = 1_200
"""Time that BLAS takes to start one matrix product of a batch, in operations."""

DIRECT, ITERATIVE = CALL, 10 * CALL
"""Time that LAPACK takes per matrix of any size, in operations, for direct and for iterative methods."""

# Operations


def moves(node: Node) -> int:
    """Return 0: the node only moves elements, and bytes are counted separately."""
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
    """Return the rule of `weight` operations for each position of each window.

    `windows` returns the tensor with one element per window. The parameter `kernel` is the shape of a window.
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
    """Return n * n * k operations per matrix for inputs (*batch, n, n) and (*batch, n, k)."""
    return node.outputs[0].numel * node.inputs[0].shape[-1]


# Effort


def per_operand(node: Node) -> int:
    """Return the effort of two NumPy calls per input and result, which the kernel processes one by one."""
    return 2 * CALL * (len(node.inputs) + len(node.outputs))


def per_place(calls: int, windows: Callable[[Node], Tensor]) -> Count:
    """Return the rule of `calls` NumPy calls per position in a window, each on one element per window."""

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
    """Return the rule of `weight` operations per element of the first input, plus the loops of `passes` reductions.

    The parameter `dims` or `dim` gives the dimensions.
    """

    def rule(node: Node) -> int:
        shape, params = node.inputs[0].shape, node.params
        dims = params["dims"] if "dims" in params else (params["dim"],)
        reduced = [dim in dims for dim in range(-len(shape), 0)]
        return weight * node.inputs[0].numel + 3 * passes * LOOP * _loops(shape, reduced)

    return rule


def broadcast(weight: int) -> Count:
    """Return the rule of an elementwise kernel: `weight` operations per element, plus loops if it broadcasts."""

    def rule(node: Node) -> int:
        out = node.outputs[0]
        work = weight * out.numel
        for tensor in node.inputs:
            if tensor.shape != out.shape and tensor.numel > 1:
                work += LOOP * _loops(out.shape, _repeated(tensor.shape, len(out.shape)))
        return work

    return rule


def _repeated(shape: Shape, rank: int) -> list[bool]:
    """Return, for each of `rank` dimensions, whether a tensor of this shape has size 1 in it."""
    return [True] * (rank - len(shape)) + [size == 1 for size in shape]


def _loops(shape: Shape, kinds: Sequence[bool]) -> int:
    """Return the number of inner loops of NumPy. One inner loop covers the last dimensions of equal kind."""
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
    """Return 0: the kernel allocates only its results."""
    return 0


# Signs


def known(sign: Sign) -> Callable[[Node, list[Sign]], Sign]:
    """Return the rule of a sign that does not depend on the operands."""
    return lambda node, given: sign


def least(node: Node, given: list[Sign]) -> Sign:
    """Return the weakest sign of the operands."""
    return min(given)


def most(node: Node, given: list[Sign]) -> Sign:
    """Return the strongest sign of the operands."""
    return max(given)


def magnitude(node: Node, given: list[Sign]) -> Sign:
    """Return NOT_NEGATIVE, or POSITIVE if the operand is positive."""
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
