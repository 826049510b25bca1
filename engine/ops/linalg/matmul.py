"""Products of matrices and vectors, in terms of one primitive: the batched product of two matrices.

A product with a weight without batch dimensions is reshaped to one product of two matrices, so that its gradient is
also one product. Other modules call `product` for operands that are matrices.
"""

from __future__ import annotations

import numpy as np

from engine.errors import OpError
from engine.graph.graph import Node, Tensor, Type
from engine.graph.kernel import InSingle
from engine.graph.op import alias, op
from engine.graph.primitive import multilinear
from engine.graph.relation import Relation, through, without
from engine.graph.samples import integers, real, sample
from engine.graph.traits import START
from engine.graph.types import broadcast_shapes, float16, float32, numel
from engine.ops.checks import require_number, require_one_dtype
from engine.ops.elementwise.arithmetic import mul
from engine.ops.shape.movement import is_matrix_transpose, matrix_transpose, reshaped

# The primitive


def _operations(node: Node) -> int:
    """Operations of (*batch, n, k) @ (*batch, k, m): 2 n m k for each matrix."""
    return 2 * node.outputs[0].numel * node.inputs[0].shape[-1]


def _effort(node: Node) -> int:
    """The operations plus a constant overhead for each pair of matrices."""
    return _operations(node) + START * numel(node.outputs[0].shape[:-2])


def _relation(node: Node, position: int, result: int) -> Relation:
    """A result row depends on the same row of the first operand, a column on the same column of the second."""
    input, out = node.inputs[position].shape, node.outputs[result].shape
    kept = without(input, (-1,) if position == 0 else (-2,))
    return through(position, result, (kept, input), (kept, out))


@multilinear(cost=_operations, effort=_effort, relation=_relation, analytic=True, blas=True)
def _matmul(input: Tensor, other: Tensor) -> Type:
    """(*batch, n, k) @ (*batch, k, m) -> (*batch, n, m): equal ranks, batch dimensions broadcast."""
    batch = broadcast_shapes([input.shape[:-2], other.shape[:-2]])
    return Type(input.dtype, (*batch, input.shape[-2], other.shape[-1]))


_matmul.kernel(InSingle(np.matmul))  # NumPy accumulates float16 in float16, and slowly


@_matmul.workspace
def _(node: Node) -> int:
    """Copies of operands in layouts that BLAS does not support; elements repeated along batch axes count once."""
    tensors = (*node.inputs, *node.outputs)
    if node.outputs[0].dtype is float16:
        return 2 * sum([tensor.numel * float32.itemsize for tensor in tensors])
    return 2 * max([_distinct(tensor) * tensor.dtype.itemsize for tensor in tensors])


def _distinct(tensor: Tensor) -> int:
    """Return the number of elements of a batch of matrices, without repetitions along batch axes."""
    node = tensor.node
    repeats = node.primitive.broadcasts and node.inputs[0].shape[-2:] == tensor.shape[-2:]
    return node.inputs[0].numel if repeats else tensor.numel


@_matmul.vjp("input")
def _(grad: Tensor, out: Tensor, input: Tensor, other: Tensor) -> Tensor:
    if is_matrix_transpose(input):  # a transpose, in the memory layout of the original tensor
        return matrix_transpose(_matmul(other, matrix_transpose(grad)))
    return _matmul(grad, matrix_transpose(other))


@_matmul.vjp("other")
def _(grad: Tensor, out: Tensor, input: Tensor, other: Tensor) -> Tensor:
    if is_matrix_transpose(other):
        return matrix_transpose(_matmul(matrix_transpose(grad), input))
    return _matmul(matrix_transpose(input), grad)


PRODUCT = _matmul


def product(input: Tensor, other: Tensor) -> Tensor:
    """(*batch, n, k) @ (*batch, k, m) -> (*batch, n, m), for tensors of matching shapes and rank 2 or more."""
    if other.ndim == 2 and input.ndim > 2:
        rows = numel(input.shape[:-1])
        folded = _matmul(reshaped(input, (rows, input.shape[-1])), other)
        return reshaped(folded, (*input.shape[:-1], other.shape[-1]))
    rank = max(input.ndim, other.ndim)
    return _matmul(of_rank(input, rank), of_rank(other, rank))


def of_rank(input: Tensor, rank: int) -> Tensor:
    """The tensor with leading dimensions of size 1 added up to `rank`."""
    return reshaped(input, (*(1,) * (rank - input.ndim), *input.shape))


# Operand checks


def factors(**tensors: Tensor | None) -> None:
    """Raise OpError unless a product's operands have the same dtype, not bool: products do not promote."""
    require_one_dtype(**tensors)
    for argument, tensor in tensors.items():
        if tensor is not None:
            require_number(tensor, argument)


def _of_dims(tensor: Tensor, dims: int, argument: str) -> None:
    if tensor.ndim != dims:
        kind = {1: "a vector", 2: "a matrix", 3: "a batch of matrices"}[dims]
        raise OpError(
            "shape_mismatch",
            f"{argument} has shape {list(tensor.shape)}; it must be {kind} ({dims}-d)",
            "Use matmul, which takes any dimensions, or reshape the tensor.",
            argument,
        )


def _fitting(input: Tensor, other: Tensor, left: int, right: int, argument: str = "other") -> None:
    """Raise OpError unless the contracted sizes `left` and `right` of two operands are equal."""
    if left != right:
        raise OpError(
            "shape_mismatch",
            f"shapes {list(input.shape)} and {list(other.shape)} do not fit: {left} columns meet {right} rows",
            "The last size of the first operand must equal the second operand's size at -2 (at -1 for a vector); "
            "transpose or reshape one of them.",
            argument,
        )


# Ops


_BACKWARD = {(1, 1): "DotBackward0", (2, 1): "MvBackward0", (2, 2): "MmBackward0"}


@op(
    grad_fn=lambda given, out: _BACKWARD.get((given["input"].ndim, given["other"].ndim), "MatmulBackward0"),
    samples=(
        sample(real(2, 3), real(3, 4)),
        sample(real(3), real(3)),
        sample(real(2, 3), real(3)),
        sample(real(3), real(3, 4)),
        sample(real(3), real(2, 3, 4)),
        sample(real(2, 4, 3), real(3)),
        sample(real(2, 4, 3), real(3, 2)),
        sample(real(4, 3), real(2, 3, 2)),
        sample(real(2, 1, 4, 3), real(3, 3, 2)),
        sample(real(2, 0), real(0, 3)),
    ),
)
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """Matrix product: (*batch, n, k) @ (*batch, k, m) -> (*batch, n, m), with broadcasting batch dimensions.

    A vector on the left is a row, a vector on the right a column; its dimension is removed from the result.
    Source: torch.matmul.
    """
    factors(input=input, other=other)
    for argument, tensor in (("input", input), ("other", other)):
        if not tensor.ndim:
            raise OpError("shape_mismatch", f"{argument} has no dimensions", "Use mul for a scalar.", argument)
    _fitting(input, other, input.shape[-1], other.shape[-2 if other.ndim > 1 else -1])
    left = input if input.ndim > 1 else reshaped(input, (1, *input.shape))
    right = other if other.ndim > 1 else reshaped(other, (*other.shape, 1))
    result = product(left, right)
    rows = result.shape[-2:-1] if input.ndim > 1 else ()
    columns = result.shape[-1:] if other.ndim > 1 else ()
    return reshaped(result, (*result.shape[:-2], *rows, *columns))


alias("linalg.matmul", of="matmul")


@op(samples=(sample(real(2, 3), real(3, 4)), sample(real(2, 0), real(0, 3))))
def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """Product of two matrices: (n, k), (k, m) -> (n, m). Source: torch.mm."""
    factors(input=input, mat2=mat2)
    _of_dims(input, 2, "input")
    _of_dims(mat2, 2, "mat2")
    _fitting(input, mat2, input.shape[1], mat2.shape[0], "mat2")
    return _matmul(input, mat2)


@op(samples=(sample(real(2, 3, 4), real(2, 4, 2)), sample(real(0, 2, 3), real(0, 3, 1))))
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """Matrix product for each pair of a batch: (b, n, k), (b, k, m) -> (b, n, m). Source: torch.bmm."""
    factors(input=input, mat2=mat2)
    _of_dims(input, 3, "input")
    _of_dims(mat2, 3, "mat2")
    if input.shape[0] != mat2.shape[0]:
        raise OpError(
            "shape_mismatch",
            f"input holds {input.shape[0]} matrices, and mat2 {mat2.shape[0]}",
            "Give batches of the same size, or use matmul, which broadcasts.",
            "mat2",
        )
    _fitting(input, mat2, input.shape[2], mat2.shape[1], "mat2")
    return _matmul(input, mat2)


@op(samples=(sample(real(2, 3), real(3)), sample(real(2, 0), real(0))))
def mv(input: Tensor, vec: Tensor) -> Tensor:
    """Product of a matrix and a vector: (n, k), (k) -> (n). Source: torch.mv."""
    _of_dims(input, 2, "input")
    _of_dims(vec, 1, "vec")
    factors(input=input, vec=vec)
    _fitting(input, vec, input.shape[1], vec.shape[0], "vec")
    return matmul(input, vec)


def _dot(input: Tensor, other: Tensor, argument: str) -> Tensor:
    _of_dims(input, 1, "input")
    _of_dims(other, 1, argument)
    factors(**{"input": input, argument: other})
    if input.shape != other.shape:
        raise OpError(
            "shape_mismatch",
            f"vectors of {input.shape[0]} and {other.shape[0]} elements have no dot product",
            "Give vectors of the same length; dot does not broadcast.",
            argument,
        )
    return matmul(input, other)


@op(samples=(sample(real(3), real(3)), sample(real(0), real(0)), sample(integers(9, 3), integers(9, 3))))
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """Sum of the products of two vectors' elements: (n), (n) -> (). Source: torch.dot."""
    return _dot(input, tensor, "tensor")


@op(samples=(sample(real(3), real(3)),))
def vdot(input: Tensor, other: Tensor) -> Tensor:
    """Dot product of two vectors, with the first one conjugated: (n), (n) -> (). Source: torch.vdot."""
    return _dot(input, other, "other")


@op(samples=(sample(real(3), real(2)), sample(real(0), real(2))))
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """Products of all pairs of elements of two vectors: (n), (m) -> (n, m). Source: torch.outer."""
    _of_dims(input, 1, "input")
    _of_dims(vec2, 1, "vec2")
    return mul(reshaped(input, (*input.shape, 1)), vec2)


alias("ger", of="outer")


@op(
    grad_fn=lambda given, out: "InnerBackward0" if given["input"].ndim and given["other"].ndim else "MulBackward0",
    samples=(
        sample(real(2, 3), real(4, 3)),
        sample(real(3), real(3)),
        sample(real(), real(2, 3)),
        sample(real(2, 2, 3), real(3)),
    ),
)
def inner(input: Tensor, other: Tensor) -> Tensor:
    """Sum of products over the last dimensions: (*n, k), (*m, k) -> (*n, *m); scalars multiply. Source: torch.inner."""
    if not input.ndim or not other.ndim:
        return mul(input, other)
    factors(input=input, other=other)
    _fitting(input, other, input.shape[-1], other.shape[-1])
    k = input.shape[-1]
    result = _matmul(
        reshaped(input, (numel(input.shape[:-1]), k)), matrix_transpose(reshaped(other, (numel(other.shape[:-1]), k)))
    )
    return reshaped(result, input.shape[:-1] + other.shape[:-1])
