"""The op `scaled_dot_product_attention`."""

from __future__ import annotations

import math

import numpy as np

from engine.errors import OpError
from engine.graph.graph import Tensor, Type
from engine.graph.op import op
from engine.graph.primitive import primitive
from engine.graph.samples import boolean, real, sample
from engine.graph.traits import arrays, per_result
from engine.graph.types import Shape, bool_, broadcast_shapes, float16, numel
from engine.ops.checks import require_floating, require_one_dtype
from engine.ops.elementwise.selection import where
from engine.ops.linalg.matmul import matmul
from engine.ops.nn.attention_kernels import attended
from engine.ops.nn.softmax import softmax_of_scores
from engine.ops.random.distributions import dropped, require_probability
from engine.ops.shape.movement import expanded, matrix_transpose, reshaped


@primitive(differentiable=False, cost=per_result(1), memory=arrays(1))
def _lower_triangle(*, rows: int, columns: int) -> Type:
    """True on and below the main diagonal."""
    return Type(bool_, (rows, columns))


@_lower_triangle.kernel
def _(*, rows: int, columns: int) -> np.ndarray:
    return np.tri(rows, columns, dtype=np.bool_)


def _require_shapes(query: Tensor, key: Tensor, value: Tensor) -> None:
    for name, tensor in {"query": query, "key": key, "value": value}.items():
        if tensor.ndim < 2:
            raise OpError(
                "shape_mismatch",
                f"{name} has shape {list(tensor.shape)}; it needs (..., length, features)",
                "Add a dimension.",
                name,
            )
    if query.shape[-1] != key.shape[-1]:
        raise OpError(
            "shape_mismatch",
            f"query has shape {list(query.shape)} and key {list(key.shape)}; their last sizes must be equal",
            "Give both as many features.",
            "key",
        )
    if key.shape[-2] != value.shape[-2]:
        raise OpError(
            "shape_mismatch",
            f"key has shape {list(key.shape)} and value {list(value.shape)}; their sizes at -2 must be equal",
            "Give a value for each key.",
            "value",
        )


def _shared_by_groups(tensor: Tensor, heads: int, argument: str) -> Tensor:
    """Repeat the heads (dimension -3), each once for every query head that uses it, as a view."""
    own = tensor.shape[-3] if tensor.ndim > 2 else 0
    if not own or heads % own:
        raise OpError(
            "shape_mismatch",
            f"query has {heads} heads, which {argument} of shape {list(tensor.shape)} cannot share",
            "With enable_gqa the heads, at dimension -3, must divide those of query.",
            argument,
        )
    batch, rest = tensor.shape[:-3], tensor.shape[-2:]
    repeated = expanded(reshaped(tensor, (*batch, own, 1, *rest)), (*batch, own, heads // own, *rest))
    return reshaped(repeated, (*batch, heads, *rest))


def _require_mask(mask: Tensor, query: Tensor, scores: Shape) -> None:
    if broadcast_shapes([scores, mask.shape]) != scores:
        raise OpError(
            "shape_mismatch",
            f"attn_mask has shape {list(mask.shape)}, and does not broadcast to the scores' {list(scores)}",
            "Give attn_mask the shape (..., query length, key length).",
            "attn_mask",
        )
    if mask.dtype is not bool_:
        require_one_dtype(query=query, attn_mask=mask)


@op(
    samples=(
        sample(real(2, 3, 4), real(2, 5, 4), real(2, 5, 3)),
        sample(real(3, 4), real(3, 4), real(3, 2), is_causal=True),
        sample(real(2, 3, 4), real(2, 5, 4), real(2, 5, 3), boolean(3, 5), scale=0.7),
        sample(real(2, 3, 4), real(2, 5, 4), real(2, 5, 3), real(2, 3, 5), 0.3),
        sample(real(1, 4, 2, 3), real(1, 2, 3, 3), real(1, 2, 3, 2), enable_gqa=True),
    )
)
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """`softmax(query @ key.T * scale + mask) @ value`: (..., L, E), (..., S, E), (..., S, V) -> (..., L, V).

    `attn_mask` broadcasts to (..., L, S): bool, true where a key takes part, or numbers to add. `is_causal` lets a
    query see keys up to its own place. A query that sees none gets zeros. `scale` is `1 / sqrt(E)` if it is left out;
    with `enable_gqa` groups of query heads (dimension -3) share a head of key and value. Source: Vaswani et al. 2017,
    "Attention is all you need"; torch.nn.functional.scaled_dot_product_attention.
    """
    require_floating(query, "query")
    require_one_dtype(query=query, key=key, value=value)
    require_probability(dropout_p, "dropout_p")
    _require_shapes(query, key, value)
    if attn_mask is not None and is_causal:
        raise OpError("arguments", "attn_mask and is_causal are both given", "Give one of them.", "is_causal")
    if enable_gqa:
        heads = query.shape[-3] if query.ndim > 2 else 0
        key, value = _shared_by_groups(key, heads, "key"), _shared_by_groups(value, heads, "value")
    factor = 1 / math.sqrt(max(query.shape[-1], 1)) if scale is None else scale
    if is_causal:
        attn_mask = _lower_triangle(rows=query.shape[-2], columns=key.shape[-2])
    batch = broadcast_shapes([query.shape[:-2], key.shape[:-2], value.shape[:-2]])
    if attn_mask is not None:
        _require_mask(attn_mask, query, (*batch, query.shape[-2], key.shape[-2]))
    if numel(batch) > 1 and not dropout_p and query.dtype is not float16:
        return attended(query, key, value, attn_mask, factor)
    scores = matmul(query * factor, matrix_transpose(key))
    if attn_mask is not None:
        scores = where(attn_mask, scores, -math.inf) if attn_mask.dtype is bool_ else scores + attn_mask
    weights = softmax_of_scores(scores)
    if dropout_p:
        weights = dropped(weights, dropout_p, weights.shape)
    return matmul(weights, value)
