"""Attention head by head gives what its formula says, however heads are divided and whatever a mask hides."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from engine.graph import threads as cores
from engine.ops.nn import attention_kernels as heads
from engine.ops.nn.softmax import softmax_of_visible
from tests.engine.one_op import gradients, value

Array = np.ndarray
OP = "scaled_dot_product_attention"
BATCH, LENGTH, KEYS = (2, 3), 5, 4


def drawn(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def operands() -> tuple[Array, Array, Array]:
    return drawn(*BATCH, LENGTH, 6), drawn(*BATCH, KEYS, 6, seed=1), drawn(*BATCH, KEYS, 3, seed=2)


def expected(query: Array, key: Array, value: Array, mask: Array | None = None) -> Array:
    """Attention as its formula is written; a query that sees no key gets zeros."""
    scores = query @ key.swapaxes(-1, -2) / np.sqrt(query.shape[-1])
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == np.bool_ else scores + mask
    largest = scores.max(axis=-1, keepdims=True)
    weights = np.exp(scores - np.where(np.isinf(largest), 0, largest))
    total = weights.sum(axis=-1, keepdims=True)
    result: Array = weights / np.where(total == 0, 1, total) @ value
    return result


SEEN = np.arange(LENGTH)[:, None] >= np.arange(KEYS) + 1
MASKS = {
    "each score": SEEN,
    "keys of each batch": np.arange(KEYS) < np.array([2, 4]).reshape(2, 1, 1, 1),
    "added": np.where(SEEN, drawn(LENGTH, KEYS), -np.inf),
    "added to each head": drawn(3, 1, KEYS),
}


@pytest.fixture(params=itertools.product([1, 3], [1, 2**7, 2**9, 2**19]), ids=str)
def divided(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    count, block = request.param
    for module in (cores, heads):
        monkeypatch.setattr(module, "CORES", count)
    monkeypatch.setattr(heads, "_WORTH_CORES", 0)
    monkeypatch.setattr(heads, "BLOCK", block)


@pytest.mark.usefixtures("divided")
@pytest.mark.parametrize("mask", [None, *MASKS])
def test_blocks_and_parts_give_what_the_formula_says(mask: str | None) -> None:
    query, key, values = operands()
    hidden = [] if mask is None else [MASKS[mask]]
    np.testing.assert_allclose(value(OP, query, key, values, *hidden), expected(query, key, values, *hidden), 1e-12)


@pytest.mark.usefixtures("divided")
def test_gradients_do_not_depend_on_the_division(monkeypatch: pytest.MonkeyPatch) -> None:
    found = gradients(OP, *operands(), MASKS["each score"])
    monkeypatch.undo()
    for divided, whole in zip(found, gradients(OP, *operands(), MASKS["each score"]), strict=True):
        assert divided is not None
        assert whole is not None
        np.testing.assert_allclose(divided, whole, 1e-12, 1e-14)


@pytest.mark.parametrize("size", [1e2, 1e4])
def test_large_scores_do_not_overflow(size: float) -> None:
    query, key, values = operands()
    np.testing.assert_allclose(value(OP, query * size, key, values), expected(query * size, key, values), 1e-9)


@pytest.mark.parametrize("hidden", [np.nan, np.inf, 1e300])
def test_scores_that_are_hidden_do_not_matter(hidden: float) -> None:
    query, key, values = operands()
    mask = np.arange(KEYS) < KEYS - 1
    garbage = key.copy()
    garbage[..., -1, :] = hidden
    clean, found = (value(OP, query, keys, values, mask) for keys in (key, garbage))
    np.testing.assert_allclose(found, clean, 1e-14)


def test_transposes_of_the_result_stay_views() -> None:
    query, key, values = (drawn(2, 5, 3, 4, seed=seed).swapaxes(1, 2) for seed in range(3))
    result, weights = heads._attention.bind({"scale": 0.5})(query, key, values)
    assert result.swapaxes(1, 2).flags.c_contiguous
    assert all(
        found.swapaxes(1, 2).flags.c_contiguous
        for found in heads._attention_gradients.bind({"scale": 0.5})(result, result, weights, query, key, values)
    )


@pytest.mark.parametrize("bound", [63.9, 64.1, 100.0])
def test_softmax_keeps_its_digits_on_both_sides_of_the_bound(bound: float) -> None:
    scores = np.random.default_rng(0).uniform(-bound, bound, (50, 40)).astype(np.float32)
    exact = np.exp(scores.astype(np.float64))
    exact /= exact.sum(axis=-1, keepdims=True)
    softmax_of_visible(scores, None)
    normal = exact > np.finfo(np.float32).tiny
    np.testing.assert_allclose(scores[normal], exact[normal], 2e-5 if bound > 64 else 2e-6)
