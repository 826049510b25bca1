"""What must hold of results that are random: one record for each op that draws, with a call large enough for its
frequencies to be told, and the property of the value and the gradient. Bounds are six standard deviations wide.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

SIZE = 4096
P = 0.3
ONES = {"data": [1.0] * SIZE, "requires_grad": True}
CHANNELS = {"data": [1.0] * SIZE, "shape": [4, SIZE // 16, 4], "requires_grad": True}
"""(batch, channels, length)"""

Property = Callable[[torch.Tensor, torch.Tensor | None], bool]


@dataclass(frozen=True)
class DrawCall:
    """A call, and what holds of its result and of the gradient of its sum with respect to the leaf `x`."""

    op: str
    tensors: dict[str, Any]
    inputs: list[Any]
    attributes: dict[str, Any]
    holds: Property
    dtype: str = field(default="float64")

    def graph(self) -> dict[str, Any]:
        """Return the call as a graph of the contract."""
        call = {"op": self.op, "inputs": self.inputs, "attributes": self.attributes, "output": "y"}
        return {"dtype": self.dtype, "tensors": self.tensors, "ops": [call]}


def _near(found: torch.Tensor, wanted: float, spread: float, count: int) -> bool:
    """Whether a mean of `count` draws of standard deviation `spread` is where it is expected."""
    return abs(float(found) - wanted) < 6 * spread / math.sqrt(count)


def _drops(value: torch.Tensor, gradient: torch.Tensor | None) -> bool:
    """Zero with probability P, scaled to keep the mean, and the gradient is that mask."""
    kept = value != 0
    return bool(
        gradient is not None
        and torch.equal(gradient, value)
        and torch.allclose(value[kept], torch.tensor(1 / (1 - P), dtype=value.dtype))
        and _near((~kept).double().mean(), P, (P * (1 - P)) ** 0.5, kept.numel())
    )


def _drops_channels(value: torch.Tensor, gradient: torch.Tensor | None) -> bool:
    """The same, of whole channels."""
    return _of_channels(_drops, value, gradient)


def _of_channels(holds: Property, value: torch.Tensor, gradient: torch.Tensor | None) -> bool:
    """Whether every channel, that is what lies below two dimensions, is one value, and of those the property holds."""
    flat = value.flatten(2)
    first = None if gradient is None else gradient.flatten(2)[..., 0]
    return torch.equal(flat, flat[..., :1].expand_as(flat)) and holds(flat[..., 0], first)


def _drops_to_saturation(value: torch.Tensor, gradient: torch.Tensor | None) -> bool:
    """Two values, a share P of the lower one, and the gradient is the affine map's slope where it is not dropped."""
    dropped = value == value.min()
    return (
        gradient is not None
        and value.unique().numel() == 2
        and torch.equal(gradient == 0, dropped)
        and gradient[~dropped].unique().numel() == 1
        and _near(dropped.double().mean(), P, (P * (1 - P)) ** 0.5, value.numel())
    )


def _saturates_channels(value: torch.Tensor, gradient: torch.Tensor | None) -> bool:
    """The same, of whole channels."""
    return _of_channels(_drops_to_saturation, value, gradient)


def _attends_in_part(value: torch.Tensor, _: torch.Tensor | None) -> bool:
    """Each of the equal weights 1/32 is dropped or scaled."""
    kept = value != 0
    scaled = torch.tensor(1 / 32 / (1 - P), dtype=value.dtype)
    return torch.allclose(value[kept], scaled) and _near(
        (~kept).double().mean(), P, (P * (1 - P)) ** 0.5, value.numel()
    )


def _slopes(value: torch.Tensor, gradient: torch.Tensor | None) -> bool:
    """The inputs are -1: the value is minus the slope, uniform in [1/8, 1/3], and the gradient is the slope."""
    low, high = 1 / 8, 1 / 3
    return (
        gradient is not None
        and torch.allclose(gradient, -value)
        and bool(((gradient >= low) & (gradient <= high)).all())
        and _near(gradient.mean(), (low + high) / 2, (high - low) / 12**0.5, SIZE)
    )


def _uniform(value: torch.Tensor, _: torch.Tensor | None) -> bool:
    return bool(((value >= 0) & (value < 1)).all()) and _near(value.mean(), 0.5, 12**-0.5, SIZE)


def _normal(value: torch.Tensor, _: torch.Tensor | None) -> bool:
    return _near(value.mean(), 0, 1, SIZE) and _near((value**2).mean(), 1, 2**0.5, SIZE)


def _coin(value: torch.Tensor, _: torch.Tensor | None) -> bool:
    return bool(((value == 0) | (value == 1)).all()) and _near(value.mean(), P, (P * (1 - P)) ** 0.5, SIZE)


def _die(value: torch.Tensor, _: torch.Tensor | None) -> bool:
    return set(value.long().unique().tolist()) == set(range(1, 7)) and _near(
        value.double().mean(), 3.5, (35 / 12) ** 0.5, SIZE
    )


def _permutation(value: torch.Tensor, _: torch.Tensor | None) -> bool:
    return bool(torch.equal(value.sort().values, torch.arange(SIZE)))


def _simplex(value: torch.Tensor, _: torch.Tensor | None) -> bool:
    ones = torch.ones(SIZE // 4, dtype=value.dtype)
    return bool(torch.allclose(value.sum(-1), ones) and value.unique().numel() > SIZE // 8)


DRAW_CALLS: tuple[DrawCall, ...] = (
    DrawCall("dropout", {"x": ONES}, ["x"], {"p": P}, _drops),
    DrawCall("dropout1d", {"x": CHANNELS}, ["x"], {"p": P}, _drops_channels),
    DrawCall("dropout2d", {"x": CHANNELS | {"shape": [4, SIZE // 16, 2, 2]}}, ["x"], {"p": P}, _drops_channels),
    DrawCall("dropout3d", {"x": CHANNELS | {"shape": [4, SIZE // 16, 2, 2, 1]}}, ["x"], {"p": P}, _drops_channels),
    DrawCall("alpha_dropout", {"x": ONES}, ["x"], {"p": P, "training": True}, _drops_to_saturation),
    DrawCall("feature_alpha_dropout", {"x": CHANNELS}, ["x"], {"p": P, "training": True}, _saturates_channels),
    DrawCall("rrelu", {"x": ONES | {"data": [-1.0] * SIZE}}, ["x"], {"training": True}, _slopes),
    DrawCall(
        "scaled_dot_product_attention",
        {"x": {"data": [0.0] * 1024, "shape": [32, 32]}, "v": {"data": torch.eye(32).tolist()}},
        ["x", "x", "v"],
        {"dropout_p": P},
        _attends_in_part,
    ),
    DrawCall("rand", {}, [[SIZE]], {}, _uniform),
    DrawCall("rand_like", {"x": ONES}, ["x"], {}, _uniform),
    DrawCall("randn", {}, [[SIZE]], {}, _normal),
    DrawCall("randn_like", {"x": ONES}, ["x"], {}, _normal),
    DrawCall("normal", {}, [0.0, 1.0, [SIZE]], {}, _normal),
    DrawCall("randint", {}, [1, 7, [SIZE]], {}, _die),
    DrawCall("randint_like", {"x": ONES}, ["x", 1, 7], {}, _die),
    DrawCall("randperm", {}, [SIZE], {}, _permutation),
    DrawCall("bernoulli", {"x": {"data": [P] * SIZE}}, ["x"], {}, _coin),
    DrawCall("gumbel_softmax", {"x": {"data": [0.0] * SIZE, "shape": [SIZE // 4, 4]}}, ["x"], {}, _simplex),
)
