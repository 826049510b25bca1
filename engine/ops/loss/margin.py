"""Margin losses of scores and distances."""

from __future__ import annotations

from engine.errors import OpError
from engine.graph.graph import Tensor
from engine.graph.op import op
from engine.graph.samples import fixed, positive, real, sample, unit
from engine.ops.checks import require_floating
from engine.ops.elementwise.comparison import eq, ne
from engine.ops.elementwise.power import sqrt, square
from engine.ops.elementwise.selection import clamp, minimum, where
from engine.ops.loss.regression import Reduction, notice_broadcast, reduced
from engine.ops.nn.similarity import pairwise_distance
from engine.ops.nn.smooth_activation import logsigmoid
from engine.ops.reduction.sums import summed


def _require_equal_ranks(**tensors: Tensor) -> None:
    ranks = {tensor.ndim for tensor in tensors.values()}
    if len(ranks) > 1:
        listed = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in tensors.items())
        raise OpError(
            "shape_mismatch",
            f"the tensors have different ranks: {listed}",
            "Give all as many dimensions; 1 broadcasts.",
        )


@op(
    samples=(
        sample(real(4), real(4), fixed(4)),
        sample(real(2, 3), real(2, 3), fixed(2, 3), 0.5, reduction="none"),
        sample(real(2, 1), real(2, 3), fixed(1, 3), 0.5, reduction="sum"),
    )
)
def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, *, reduction: Reduction = "mean"
) -> Tensor:
    """`max(0, -target * (input1 - input2) + margin)`: target 1 ranks the first higher, -1 the second.

    Source: torch.nn.functional.margin_ranking_loss.
    """
    _require_equal_ranks(input1=input1, input2=input2, target=target)
    return reduced(clamp(-target * (input1 - input2) + margin, min=0.0), reduction)


@op(samples=(sample(real(2, 3), fixed(2, 3)), sample(real(4), fixed(4), 0.5, reduction="none")))
def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, *, reduction: Reduction = "mean"
) -> Tensor:
    """`input` where the target is 1, `max(0, margin - input)` where it is -1.

    Source: torch.nn.functional.hinge_embedding_loss.
    """
    notice_broadcast(input, target)
    apart = where(ne(target, 1), clamp(margin - input, min=0.0), 0.0)
    return reduced(apart + where(ne(target, -1), input, 0.0), reduction)


@op(samples=(sample(real(2, 3), fixed(2, 3)), sample(real(4, low=-30, high=30), fixed(4), reduction="none")))
def soft_margin_loss(input: Tensor, target: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """`log(1 + exp(-target * input))`. Source: torch.nn.functional.soft_margin_loss."""
    require_floating(input)
    notice_broadcast(input, target)
    return reduced(-logsigmoid(target * input), reduction)


@op(
    samples=(
        sample(real(2, 3), unit(2, 3)),
        sample(real(2, 3), unit(2, 3), positive(3), reduction="none"),
        sample(real(3), unit(3)),
    )
)
def multilabel_soft_margin_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: Reduction = "mean"
) -> Tensor:
    """Mean over the classes of the binary cross entropy with logits: (N, C) -> (N) before reduction.

    Source: torch.nn.functional.multilabel_soft_margin_loss.
    """
    require_floating(input)
    if not input.ndim:
        raise OpError("shape_mismatch", "input is 0-d, without classes", "Give the shape (C) or (N, C).", "input")
    loss = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    if weight is not None:
        loss = loss * weight
    return reduced(summed(loss, (-1,)) / input.shape[-1], reduction)


_COSINE_FLOOR = 1e-12


@op(
    samples=(
        sample(real(2, 3), real(2, 3), fixed(2)),
        sample(real(3), real(3), fixed(), 0.1),
    )
)
def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, *, reduction: Reduction = "mean"
) -> Tensor:
    """`1 - cos` where the target is 1, `max(0, cos - margin)` where it is -1: inputs (N, D) or (D), target (N) or ().

    Source: torch.nn.functional.cosine_embedding_loss.
    """
    rank = max(input1.ndim, input2.ndim)
    if target.ndim not in (0, 1) or rank != target.ndim + 1:
        raise OpError(
            "shape_mismatch",
            f"input1 has shape {list(input1.shape)}, input2 {list(input2.shape)} and target {list(target.shape)}",
            "Give inputs (N, D) and target (N), or inputs (D) and target ().",
            "target",
        )
    product = summed(input1 * input2, (-1,))
    sizes = summed(square(input1) + _COSINE_FLOOR, (-1,)) * summed(square(input2) + _COSINE_FLOOR, (-1,))
    cosine = product / sqrt(sizes)
    alike = where(eq(target, 1), 1 - cosine, 0.0)
    return reduced(alike + where(eq(target, -1), clamp(cosine - margin, min=0.0), 0.0), reduction)


@op(
    samples=(
        sample(real(2, 3), real(2, 3), real(2, 3)),
        sample(real(2, 3), real(2, 3), real(2, 3), 2.5, 1.5, swap=True, reduction="none"),
    )
)
def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    """`max(0, d(anchor, positive) - d(anchor, negative) + margin)`, where `d` is `pairwise_distance`.

    With `swap`, d(positive, negative) replaces d(anchor, negative) if it is smaller. Source: Balntas et al. 2016;
    torch.nn.functional.triplet_margin_loss.
    """
    _require_equal_ranks(anchor=anchor, positive=positive, negative=negative)
    if margin <= 0:
        raise OpError("range", f"margin is {margin}, not above 0", "Give a number above 0.", "margin")
    near, far = pairwise_distance(anchor, positive, p, eps), pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = minimum(far, pairwise_distance(positive, negative, p, eps))
    return reduced(clamp(margin + near - far, min=0.0), reduction)
