"""Convolution and its transposes give what their definition says, however their columns are made and shared out."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from engine.ops.windows import im2col as columns
from engine.ops.windows.correlation import _correlation, _correlation_images, _correlation_weights
from engine.ops.windows.windows import window_counts

Array = np.ndarray[Any, Any]

RUN: dict[str, Any] = {node.name: node.run for node in (_correlation, _correlation_images, _correlation_weights)}


def defined(images: Array, weights: Array, stride: tuple[int, ...], dilation: tuple[int, ...]) -> Array:
    """Return the sum over the places of a window, one after the other."""
    dims = len(stride)
    kernel = weights.shape[-dims:]
    counts = window_counts(images.shape[-dims - 1 : -1], kernel, stride, dilation)
    total: Array = np.zeros((*weights.shape[: -dims - 1], *counts, images.shape[-1]))
    for place in product(*map(range, kernel)):
        at: tuple[Any, ...] = (..., *place)
        each = zip(place, counts, stride, dilation, strict=True)
        where: list[Any] = [slice(k * d, k * d + (count - 1) * s + 1, s) for k, count, s, d in each]
        covered = images[(..., *where, slice(None))]
        flat = covered.reshape(*covered.shape[: -dims - 1], np.prod(covered.shape[-dims - 1 :], dtype=int))
        total += np.matmul(weights[at], flat).reshape(total.shape)
    return total


def drawn(rng: np.random.Generator, dims: int) -> tuple[Array, Array, tuple[int, ...], tuple[int, ...]]:
    """Return images, weights, stride and dilation; some weights are the same along a leading dimension."""
    lead = ((), (2,), (3, 2))[rng.integers(3)]
    kernel, stride, dilation = (tuple(map(int, rng.integers(1, most, dims))) for most in (4, 4, 3))
    sizes = [(k - 1) * d + 1 + int(rng.integers(6)) for k, d in zip(kernel, dilation, strict=True)]
    channels, others, n = rng.integers(1, 4, 3)
    images = rng.standard_normal((*lead, channels, *sizes, n))
    weights = rng.standard_normal((*lead, others, channels, *kernel))
    if lead and rng.random() < 0.5:
        weights = np.broadcast_to(weights[0], weights.shape)
    if rng.random() < 0.5:
        images = np.moveaxis(np.ascontiguousarray(np.moveaxis(images, -1, 0)), 0, -1)
    return images, weights, stride, dilation


@pytest.mark.parametrize("block", [2**6, 2**10, 2**21])
@pytest.mark.parametrize("long", [1, 2**8])
@pytest.mark.parametrize("worth", [1, 2**24])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_blocks_rows_and_shares_do_not_change_values(
    monkeypatch: pytest.MonkeyPatch, block: int, long: int, worth: int, dims: int
) -> None:
    for name, value in (("BLOCK", block), ("LONG", long), ("WORTH_CORES", worth), ("CORES", 2)):
        monkeypatch.setattr(columns, name, value)
    rng = np.random.default_rng(dims)
    for _ in range(15):
        images, weights, stride, dilation = drawn(rng, dims)
        steps: dict[str, Any] = {"stride": stride, "dilation": dilation}
        expected = defined(images, weights, stride, dilation)
        np.testing.assert_allclose(RUN["_correlation"](images, weights, **steps), expected, atol=1e-12)
        grad = rng.standard_normal(expected.shape)
        sizes, window = images.shape[-dims - 1 : -1], weights.shape[-dims:]
        by_images = RUN["_correlation_images"](grad, weights, sizes=sizes, **steps)
        by_weights = RUN["_correlation_weights"](images, grad, window=window, **steps)
        at, to = np.asarray(rng.standard_normal(images.shape)), np.asarray(rng.standard_normal(weights.shape))
        assert by_images.shape == at.shape
        assert by_weights.shape == to.shape
        assert np.vdot(by_images, at) == pytest.approx(np.vdot(grad, defined(at, weights, stride, dilation)), abs=1e-9)
        assert np.vdot(by_weights, to) == pytest.approx(np.vdot(grad, defined(images, to, stride, dilation)), abs=1e-9)


@pytest.mark.parametrize("empty", ["batch", "images' channels", "results' channels", "leading"])
def test_what_is_empty_sums_to_zeros(empty: str) -> None:
    lead, others, channels, n = [
        0 if empty == name else 2 for name in ("leading", "results' channels", "images' channels", "batch")
    ]
    images, weights = np.ones((lead, channels, 4, 5, n)), np.ones((lead, others, channels, 2, 3))
    steps: dict[str, Any] = {"stride": (1, 2), "dilation": (2, 1)}
    made = RUN["_correlation"](images, weights, **steps)
    assert made.shape == (lead, others, 2, 2, n)
    assert not made.any()
    assert not RUN["_correlation_images"](made, weights, sizes=(4, 5), **steps).any()
    assert not RUN["_correlation_weights"](images, made, window=(2, 3), **steps).any()


def test_half_precision_is_summed_in_single() -> None:
    images, weights = np.full((1, 40, 40, 1), 4, np.float16), np.full((1, 1, 40, 40), 4, np.float16)
    made = RUN["_correlation"](images / 2, weights / 64, stride=(1, 1), dilation=(1, 1))
    assert made.dtype == np.float16
    assert made == 200
