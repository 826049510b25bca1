"""Whether two tensors are the same numbers. The tolerance is relative to the element and to the largest element of the
array: a sum whose terms cancel is as exact as its terms. Where a whole array is nothing but what cancellation leaves of
samples near 1, a small absolute tolerance holds, far below the relative one.
"""

from __future__ import annotations

import math

import torch

RTOL: dict[torch.dtype, float] = {
    torch.float64: 1e-9,
    torch.complex128: 1e-9,
    torch.float32: 1e-5,
    torch.complex64: 1e-5,
    torch.float16: 2e-3,
}
"""By dtype. Integers and bools have none: they are equal or they are not."""

ATOL: dict[torch.dtype, float] = {torch.float64: 1e-12, torch.float32: 1e-6, torch.float16: 1e-3}


def difference(actual: torch.Tensor | None, expected: torch.Tensor | None, slack: float = 0.0) -> str | None:
    """Return how `actual` differs from `expected`, or None if it does not.

    `slack` is an absolute tolerance beside the relative ones. NaN equals NaN, an infinity itself.
    """
    if actual is None or expected is None:
        return None if actual is expected else f"got {_brief(actual)}, expected {_brief(expected)}"
    if actual.dtype != expected.dtype:
        return f"got dtype {actual.dtype}, expected {expected.dtype}"
    if actual.shape != expected.shape:
        return f"got shape {list(actual.shape)}, expected {list(expected.shape)}"
    if actual.is_complex():
        return difference(torch.view_as_real(actual.resolve_conj()), torch.view_as_real(expected.resolve_conj()), slack)
    wrong = _unequal(actual, expected, slack)
    if not wrong.any():
        return None
    place = tuple(wrong.nonzero()[0].tolist())
    return (
        f"{int(wrong.sum())} of {wrong.numel()} elements differ, first at {list(place)}: "
        f"got {actual[place].item()!r}, expected {expected[place].item()!r}"
    )


def _unequal(actual: torch.Tensor, expected: torch.Tensor, slack: float) -> torch.Tensor:
    if actual.dtype not in RTOL:
        return actual != expected
    a, e = actual.detach().double(), expected.detach().double()
    same = (a == e) | (a.isnan() & e.isnan())
    finite = a.isfinite() & e.isfinite()
    scale = magnitude(e)
    near = (a - e).abs() <= RTOL[actual.dtype] * (e.abs() + scale) + ATOL[actual.dtype] + slack
    return ~(same | (finite & near))


def magnitude(tensor: torch.Tensor) -> float:
    """Return the largest finite magnitude in a tensor, 0 where there is none."""
    found = tensor.detach().abs().double()
    found = found[found.isfinite()]
    return float(found.max()) if found.numel() else 0.0


def single_difference(
    actual: torch.Tensor | None, single: torch.Tensor | None, double: torch.Tensor | None
) -> str | None:
    """Return how a single-precision result differs from what PyTorch gives in double precision, or None.

    It may be four times as far from it as PyTorch's own single-precision result is, at most 1e-3 of its size: an
    ill-conditioned sample has no better answer in that dtype, and a wrong formula is further off than that.
    """
    if single is None or double is None or single.shape != double.shape or single.dtype not in RTOL:
        return difference(actual, single)
    gap = magnitude(single.detach().to(double.dtype) - double.detach())
    slack = min(4 * gap, 1e-3 * magnitude(double)) if math.isfinite(gap) else 0.0
    return difference(actual, double.detach().to(single.dtype), slack)


def _brief(tensor: torch.Tensor | None) -> str:
    return "no gradient" if tensor is None else f"a tensor of shape {list(tensor.shape)}"
