"""The seed of random ops: one leaf for each request, split into a seed for each index of a mapped axis."""

from __future__ import annotations

import numpy as np

from engine.graph.graph import Tensor, Type
from engine.graph.primitive import primitive
from engine.graph.promotion import leaf
from engine.graph.traits import arrays, per_result
from engine.graph.types import Shape, int64

_STRIDE = np.int64(-7046029254386353131)
"""2^64 / golden ratio, as a signed integer: it maps adjacent seeds to distant seeds. Source: Knuth, TAOCP 6.4."""


def random_seed() -> Tensor:
    """The request's seed, a 0-d int64 tensor."""
    return leaf(("seed", ""), int64, ())


@primitive(differentiable=False, cost=per_result(2), memory=arrays(2))
def _forked(seed: Tensor, *, shape: Shape) -> Type:
    return Type(int64, shape)


@_forked.kernel
def _(seed: np.ndarray, *, shape: Shape) -> np.ndarray:
    return seed[..., None] + _STRIDE * np.arange(1, shape[-1] + 1)


def split_seed(seed: Tensor, size: int) -> Tensor:
    """A seed for each index of an axis of `size`, (*) -> (*, size)."""
    made: Tensor = _forked(seed, shape=(*seed.shape, size))
    return made
