"""Similarity and distance of two vectors."""

from __future__ import annotations

import numpy as np

from engine.graph.graph import Node, Tensor
from engine.graph.op import elementwise, op
from engine.graph.promotion import arithmetic, as_tensor, promoted
from engine.graph.samples import real, sample
from engine.graph.signs import Sign
from engine.graph.types import broadcast_shapes, wrap_dim
from engine.ops.checks import require_floating
from engine.ops.reduction.sums import summed
from engine.ops.reduction.vector_norms import vector_norm_over
from engine.ops.shape.movement import expanded


def _sign_of_bound(node: Node, given: list[Sign]) -> Sign:
    return Sign.POSITIVE if node.params["bound"] > 0 else given[0]


@elementwise(
    lambda x, *, bound: np.maximum(x, x.dtype.type(bound)),
    arithmetic,
    weight=1,
    spare=2,
    analytic=False,
    sign=_sign_of_bound,
)
def _raise_to(input: Tensor, *, bound: float) -> Tensor: ...


@_raise_to.vjp
def _(grad: Tensor, out: Tensor, input: Tensor, *, bound: float) -> Tensor:
    return grad  # PyTorch clamps without recording a gradient


def raised(input: Tensor, bound: float) -> Tensor:
    """The maximum of the input and `bound`; the gradient also passes below the bound."""
    return _raise_to(input, bound=bound)


def _unit(input: Tensor, dim: int, eps: float) -> Tensor:
    return input / raised(vector_norm_over(input, 2, (dim,), keepdim=True), eps)


@op(samples=(sample(real(2, 3), real(2, 3)), sample(real(2, 1, 3), real(4, 3), -1), sample(real(3), real(3), 0)))
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """Cosine of the angle between vectors along `dim`, each divided by its length or, if that is larger, by `eps`.

    Source: torch.nn.functional.cosine_similarity.
    """
    dtype = promoted((x1, x2))
    first, second = as_tensor(x1, dtype), as_tensor(x2, dtype)
    require_floating(first, "x1")
    shape = broadcast_shapes([x1.shape, x2.shape])
    axis = wrap_dim(dim, len(shape))
    shape = shape or (1,)
    return summed(_unit(expanded(first, shape), axis, eps) * _unit(expanded(second, shape), axis, eps), (axis,))


@op(samples=(sample(real(2, 3), real(2, 3)), sample(real(2, 3), real(3), 1.5, keepdim=True), sample(real(3), real(3))))
def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The p-norm of `x1 - x2 + eps` along the last dimension. Source: torch.nn.functional.pairwise_distance."""
    difference = x1 - x2 + eps
    require_floating(difference, "x1")
    wrap_dim(-1, difference.ndim)
    return vector_norm_over(difference, p, (-1,) if difference.ndim else (), keepdim)
