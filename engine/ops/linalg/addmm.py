"""Scaled sums of a tensor and a matrix product: beta * input + alpha * (a @ b)."""

from __future__ import annotations

from engine.errors import OpError
from engine.graph.graph import Tensor
from engine.graph.op import op
from engine.graph.promotion import constant
from engine.graph.samples import real, sample
from engine.graph.types import Number, bool_, broadcast_shapes
from engine.ops.elementwise.arithmetic import add
from engine.ops.elementwise.selection import where
from engine.ops.linalg.matmul import bmm, factors, mm, mv, outer
from engine.ops.reduction.sums import summed


def _added(input: Tensor, beta: Number, alpha: Number, product: Tensor) -> Tensor:
    """beta * input + alpha * product, in the product's shape; with beta 0, `input` may be infinite or NaN."""
    if broadcast_shapes([input.shape, product.shape]) != product.shape:
        raise OpError(
            "shape_mismatch",
            f"input of shape {list(input.shape)} does not broadcast to the product's shape {list(product.shape)}",
            "Only input is broadcast: reduce or reshape it to the product's shape.",
            "input",
        )
    for name, factor in (("beta", beta), ("alpha", alpha)):
        if isinstance(factor, float) and not (product.dtype.is_floating or input.dtype.is_floating):
            raise OpError("dtype", f"{name} {factor} is no integer, but the tensors are", "Use an integer.", name)
    scaled = product if alpha == 1 else product * alpha
    if beta == 0:
        return add(scaled, where(constant(False, bool_), input, 0))
    return add(scaled, input if beta == 1 else input * beta)


@op(
    samples=(
        sample(real(2, 4), real(2, 3), real(3, 4)),
        sample(real(4), real(2, 3), real(3, 4), beta=0.5, alpha=2),
        sample(real(2, 4), real(2, 3), real(3, 4), beta=0),
    )
)
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Number = 1, alpha: Number = 1) -> Tensor:
    """beta * input + alpha * (mat1 @ mat2): (n, k), (k, m) -> (n, m). Source: torch.addmm."""
    factors(input=input, mat1=mat1)
    return _added(input, beta, alpha, mm(mat1, mat2))


@op(samples=(sample(real(2), real(2, 3), real(3)), sample(real(), real(2, 3), real(3), beta=0.5, alpha=2)))
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: Number = 1, alpha: Number = 1) -> Tensor:
    """beta * input + alpha * (mat @ vec): (n, k), (k) -> (n). Source: torch.addmv."""
    factors(input=input, mat=mat)
    return _added(input, beta, alpha, mv(mat, vec))


@op(samples=(sample(real(2, 3), real(2), real(3)), sample(real(3), real(2), real(3), beta=0.5, alpha=2)))
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Number = 1, alpha: Number = 1) -> Tensor:
    """beta * input + alpha * outer(vec1, vec2): (n), (m) -> (n, m). Source: torch.addr."""
    return _added(input, beta, alpha, outer(vec1, vec2))


@op(
    samples=(
        sample(real(3, 2, 2), real(3, 2, 4), real(3, 4, 2)),
        sample(real(2), real(3, 2, 4), real(3, 4, 2), beta=0.5, alpha=2),
    )
)
def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Number = 1, alpha: Number = 1) -> Tensor:
    """beta * input + alpha * (batch1 @ batch2): (b, n, k), (b, k, m) -> (b, n, m). Source: torch.baddbmm."""
    factors(input=input, batch1=batch1)
    return _added(input, beta, alpha, bmm(batch1, batch2))


@op(
    samples=(
        sample(real(2, 2), real(3, 2, 4), real(3, 4, 2)),
        sample(real(2), real(3, 2, 4), real(3, 4, 2), beta=0.5, alpha=2),
    )
)
def addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Number = 1, alpha: Number = 1) -> Tensor:
    """beta * input + alpha * the sum of batch1 @ batch2: (b, n, k), (b, k, m) -> (n, m). Source: torch.addbmm."""
    factors(input=input, batch1=batch1)
    return _added(input, beta, alpha, summed(bmm(batch1, batch2), (-3,)))
