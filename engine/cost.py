"""What steps cost, from shapes alone: floating-point operations, bytes read and bytes written.

Operations are those of the textbook's algorithm. An addition, a product and a comparison count one each, a quotient or
root 4, and an exponential or another function about as many as its polynomial has terms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from engine.graph import Node, Tensor
from engine.types import float64

WEIGHTS: Mapping[str, int] = {
    "_div": 4,
    "_floor_div": 4,
    "_power": 4,
    "_trunc_div": 4,
    "reciprocal": 4,
    "rsqrt": 8,
    "sqrt": 4,
    "_root": 4,
    "cos": 10,
    "exp": 10,
    "expm1": 10,
    "log": 10,
    "log1p": 10,
    "sigmoid": 10,
    "sin": 10,
    "tanh": 10,
    "_elu": 10,
    "_logit_loss": 20,
    "_logit_residual": 10,
    "_logsigmoid": 20,
    "_pow": 20,
    "_silu": 10,
    "_softplus": 20,
    "_tanh_gelu": 20,
    "_x_log_x": 10,
    "erf": 20,
    "_gelu": 20,
    "_normal_cdf": 20,
}
"""Operations for each element of an elementwise primitive's result, and 1 for those that are not named."""

PER_INPUT: Mapping[str, int] = {
    "_cumprod": 1,
    "_cumsum": 1,
    "_log_softmax": 13,
    "_logcumsumexp": 22,
    "_logsumexp": 12,
    "_prod": 1,
    "_recurrence": 2,
    "_softmax": 17,
    "_standardized": 6,
    "_standardized_gradient": 8,
    "_sum": 1,
    "_var": 4,
    "_vector_norm": 2,
}
"""Operations for each element of the first input of a reduction or scan, and 1 for those that are not named."""


def _cubed(weight: float) -> Callable[[Node], int]:
    """Return the rule of a decomposition: `weight` times m * n * min(m, n), for each matrix of the first input."""

    def rule(node: Node) -> int:
        *_, rows, columns = node.inputs[0].shape
        return round(weight * node.inputs[0].numel * min(rows, columns))

    return rule


def _product(node: Node) -> int:
    """(*batch, n, k) @ (*batch, k, m): 2 n m k."""
    return 2 * node.outputs[0].numel * node.inputs[0].shape[-1]


def _substitution(node: Node) -> int:
    """(*batch, n, n) and (*batch, n, k): n n k."""
    return node.outputs[0].numel * node.inputs[0].shape[-1]


def _elimination(node: Node) -> int:
    """A factorization, 2/3 n^3, and two substitutions."""
    return _cubed(2 / 3)(node) + 2 * _substitution(node)


def _correlated(results: int, weights: int) -> Callable[[Node], int]:
    """Return the rule of a convolution or a transpose: 2 n o c, for each place of a window and each of its results.

    `results` and `weights` are their places among a node's inputs; the weights are what it gives where that is -1.
    """

    def rule(node: Node) -> int:
        dims = len(node.params["stride"])
        shape = (*node.inputs, *node.outputs)[weights].shape
        return 2 * (*node.inputs, *node.outputs)[results].numel * prod(shape[-dims - 1 :])

    return rule


def _attention(node: Node) -> int:
    """Two products and a softmax over scores (*batch, L, S), of which query has E and value V features."""
    query, _, value = node.inputs[:3]
    return node.outputs[1].numel * (2 * (query.shape[-1] + value.shape[-1]) + PER_INPUT["_softmax"])


def _attention_gradients(node: Node) -> int:
    """Four products, and what softmax passes back."""
    _, _, weights, query, _, value = node.inputs
    return 4 * weights.numel * (query.shape[-1] + value.shape[-1]) + 2 * (weights.numel + value.numel)


FORMULAS: Mapping[str, Callable[[Node], int]] = {
    "_attention": _attention,
    "_attention_gradients": _attention_gradients,
    "_cholesky": _cubed(1 / 3),
    "_cofactors": _cubed(14),
    "_correlation": _correlated(-1, 1),
    "_correlation_images": _correlated(0, 1),
    "_correlation_weights": _correlated(1, -1),
    "_det": _cubed(2 / 3),
    "_inv": _cubed(2),
    "_matmul": _product,
    "_second_derivative": _cubed(20),
    "_slogdet": _cubed(2 / 3),
    "_solve": _elimination,
    "_solve_triangular": _substitution,
    "_svd": _cubed(20),
    "_svdvals": _cubed(8 / 3),
}
"""Operations of products, and of linear algebra. Source: Golub and Van Loan 2013, "Matrix computations", tables of each
chapter.

Those of convolutions are of the sums that define them.
"""

WORKSPACE: Mapping[str, int] = {
    "_attention_gradients": 3,
    "_beside": 0,
    "_derivative": 12,
    "_huber": 4,
    "_logit_residual": 4,
    "_logsumexp": 3,
    "_median": 3,
    "_normal_cdf": 16,
    "_pow": 4,
    "_reshape": 0,
    "_softplus": 4,
    "_sum": 1,
    "_var": 4,
    "_window_max": 4,
    "_window_put": 3,
    "convert": 0,
    "sigmoid": 3,
}
"""Arrays of the size of a node's largest that its kernel needs besides its results, and 2 for those not named.

`tests/engine/test_memory.py` holds each op's kernels to them.
"""

PRODUCTS = frozenset(
    {
        "_attention",
        "_attention_gradients",
        "_correlation",
        "_correlation_images",
        "_correlation_weights",
        "_matmul",
    }
)
"""The primitives whose kernels are products of matrices, which BLAS computes several times as fast as loops do."""

DECOMPOSITIONS = frozenset(FORMULAS) - PRODUCTS
"""The primitives whose kernels are LAPACK's."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Floating-point operations, and bytes of memory read and written."""

    flops: int = 0
    bytes_read: int = 0
    bytes_written: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.flops + other.flops,
            self.bytes_read + other.bytes_read,
            self.bytes_written + other.bytes_written,
        )

    def __mul__(self, times: int) -> Cost:
        return Cost(self.flops * times, self.bytes_read * times, self.bytes_written * times)


def step_cost(nodes: Iterable[Node], inputs: Iterable[Tensor], outputs: Iterable[Tensor]) -> Cost:
    """Return the cost of nodes that run as one: what stays between them is not read or written."""
    listed = list(nodes)
    work = sum(map(flops, listed))
    if all(node.primitive.view and not node.primitive.may_copy for node in listed):
        return Cost(work)
    return Cost(work, sum(map(stored_size, inputs)), sum(map(size, outputs)))


def flops(node: Node) -> int:
    """Return the floating-point operations of a node."""
    primitive = node.primitive
    formula = FORMULAS.get(primitive.name)
    if formula is not None:
        return formula(node)
    if primitive.kind == "elementwise":
        return WEIGHTS.get(primitive.name, 1) * node.outputs[0].numel
    if primitive.name in PER_INPUT or (primitive.kind == "general" and node.inputs and not primitive.view):
        return PER_INPUT.get(primitive.name, 1) * node.inputs[0].numel
    return _additions(node) if primitive.kind == "linear" and not primitive.view else 0


def products(nodes: Iterable[Node]) -> tuple[int, int]:
    """Return the floating-point operations that BLAS does for nodes: in float32, and in float64."""
    single = double = 0
    for node in nodes:
        if node.primitive.name in PRODUCTS:
            dtype = node.outputs[0].dtype
            if dtype is float64:
                double += flops(node)
            elif dtype.is_differentiable:
                single += flops(node)
    return single, double


def _additions(node: Node) -> int:
    """Return how many elements a linear node adds up: none where its result has as many as its inputs, or more."""
    read = sum(tensor.numel for tensor in node.inputs if tensor.dtype.is_differentiable)
    return max(0, read - sum(tensor.numel for tensor in node.outputs))


def size(tensor: Tensor) -> int:
    """Return the bytes of a tensor."""
    return tensor.numel * tensor.dtype.itemsize


def stored(tensor: Tensor) -> int:
    """Return the elements that a tensor has in memory: what broadcasting repeats is there once."""
    node = tensor.node
    return node.inputs[0].numel if node.primitive.broadcasts and node.inputs else tensor.numel


def stored_size(tensor: Tensor) -> int:
    """Return the bytes of the elements that a tensor has in memory."""
    return stored(tensor) * tensor.dtype.itemsize


def workspace(node: Node) -> int:
    """Return a bound on the bytes that a node's kernel takes besides its results, while it runs."""
    primitive = node.primitive
    if primitive.needs is not None:
        return primitive.needs(node)
    if type(primitive.run) is np.ufunc or (primitive.view and not primitive.may_copy) or not node.inputs:
        return 0
    arrays = WORKSPACE.get(primitive.name, 2)
    return arrays * max([size(tensor) for tensor in (*node.inputs, *node.outputs)]) if arrays else 0
