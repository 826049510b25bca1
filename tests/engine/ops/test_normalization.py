"""Rows are standardized the same, and as the formula says, however they lie in memory and are divided."""

from __future__ import annotations

import numpy as np
import pytest

from engine.graph import threads as cores
from engine.ops.nn import normalization

X = np.random.default_rng(0).standard_normal((6, 5, 4)) * 3 + 1e3


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("dims", [(-1,), (-2, -1), (-3, -1)])
@pytest.mark.parametrize("transposed", [False, True])
def test_divided_rows(dims: tuple[int, ...], count: int, transposed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (cores, normalization):
        monkeypatch.setattr(module, "CORES", count)
    monkeypatch.setattr(normalization, "_WORTH_CORES", 0)
    x = np.asfortranarray(X) if transposed else X
    standard, scale = normalization._standardized.bind({"dims": dims, "eps": 0.1})(x)
    expected = 1 / np.sqrt(X.var(axis=dims, keepdims=True) + 0.1)
    np.testing.assert_allclose(scale, expected, 1e-12)
    np.testing.assert_allclose(standard, (X - X.mean(axis=dims, keepdims=True)) * expected, 1e-9, 1e-10)
    grad = X[::-1] - 1e3
    inner = grad - grad.mean(axis=dims, keepdims=True)
    inner -= standard * (grad * standard).mean(axis=dims, keepdims=True)
    found = normalization._standardized_gradient.bind({"dims": dims})(grad, standard, scale)
    np.testing.assert_allclose(found, inner * scale, 1e-10, 1e-12)
