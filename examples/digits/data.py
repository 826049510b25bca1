"""The data: scikit-learn's 1,797 scanned digits of 8 x 8 pixels, of which a fixed fifth is kept for testing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

TEST_SHARE = 0.2
SPLIT_SEED = 0


@dataclass(frozen=True)
class Digits:
    """Images `(n, 1, 8, 8)`, from 0 for white to 1 for black, and labels `(n,)` from 0 to 9."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: np.ndarray) -> Digits:
        return Digits(self.images[index], self.labels[index])


def load() -> tuple[Digits, Digits]:
    """Return 1,437 digits to train with and 360 to test with, in which every digit has the same share."""
    raw = load_digits()
    train, test = train_test_split(
        np.arange(len(raw.target)), test_size=TEST_SHARE, stratify=raw.target, random_state=SPLIT_SEED
    )
    digits = Digits(raw.images[:, None] / 16, raw.target.astype(np.int64))
    return digits[train], digits[test]
