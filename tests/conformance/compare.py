"""Whether two tensors are the same numbers. The tolerance is relative to the element and to the largest element of the
array: a sum whose terms cancel is as exact as its terms.
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
    near = (a - e).abs() <= RTOL[actual.dtype] * (e.abs() + scale) + slack
    return ~(same | (finite & near))


def magnitude(tensor: torch.Tensor) -> float:
    """Return the largest finite magnitude in a tensor, 0 where there is none."""
    found = tensor.detach().abs().double()
    found = found[found.isfinite()]
    return float(found.max()) if found.numel() else 0.0


def rounding(low: torch.Tensor | None, high: torch.Tensor | None) -> float:
    """Return four times how far PyTorch's own result is from the one in double precision, at most 1e-3 of its size.

    An ill-conditioned sample cannot be computed more exactly in that dtype; a wrong formula is further off than that.
    """
    if low is None or high is None or not (low.is_floating_point() or low.is_complex()) or low.shape != high.shape:
        return 0.0
    gap = magnitude(low.detach().to(high.dtype) - high.detach())
    return min(4 * gap, 1e-3 * magnitude(high)) if math.isfinite(gap) else 0.0


def _brief(tensor: torch.Tensor | None) -> str:
    return "no gradient" if tensor is None else f"a tensor of shape {list(tensor.shape)}"
