"""The comparison itself: a suite that cannot fail proves nothing."""

from __future__ import annotations

import math

import pytest
import torch

from tests.conformance.compare import difference, single_difference

pytestmark = pytest.mark.conformance

INF, NAN = math.inf, math.nan


def _tensor(*values: float, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype)


@pytest.mark.parametrize("values", [(1.0, -2.0), (NAN, 1.0), (INF, -INF), (), (0.0, -0.0)])
def test_what_is_equal_does_not_differ(values: tuple[float, ...]) -> None:
    assert difference(_tensor(*values), _tensor(*values)) is None


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (_tensor(1.0 + 3e-9), _tensor(1.0)),
        (_tensor(1.0 + 3e-5, dtype=torch.float32), _tensor(1.0, dtype=torch.float32)),
        (_tensor(NAN), _tensor(1.0)),
        (_tensor(1.0), _tensor(NAN)),
        (_tensor(INF), _tensor(-INF)),
        (_tensor(INF), _tensor(1e300)),
        (_tensor(1.0), _tensor(1.0, 1.0)),
        (_tensor(1.0), _tensor(1.0, dtype=torch.float32)),
        (torch.tensor([1]), torch.tensor([2])),
        (torch.tensor([True]), torch.tensor([False])),
        (None, _tensor(0.0)),
        (_tensor(0.0), None),
        (torch.tensor([1 + 1j]), torch.tensor([1 - 1j])),
    ],
)
def test_what_is_wrong_differs(actual: torch.Tensor | None, expected: torch.Tensor | None) -> None:
    assert difference(actual, expected) is not None


def test_a_small_element_may_be_off_by_the_rounding_of_a_large_one() -> None:
    assert difference(_tensor(1e6, 1e-4), _tensor(1e6, 0.0)) is None
    assert difference(_tensor(1e6, 1e-2), _tensor(1e6, 0.0)) is not None


def test_what_cancellation_leaves_is_no_difference() -> None:
    assert difference(_tensor(1e-15), _tensor(0.0)) is None
    assert difference(_tensor(1e-11), _tensor(0.0)) is not None


def test_an_infinity_lends_no_tolerance() -> None:
    assert difference(_tensor(INF, 1.1), _tensor(INF, 1.0)) is not None


def test_single_precision_may_be_closer_to_the_truth_than_pytorch_is() -> None:
    single, double = _tensor(1.0002, dtype=torch.float32), _tensor(1.0)
    assert difference(_tensor(1.0, dtype=torch.float32), single) is not None
    assert single_difference(_tensor(1.0, dtype=torch.float32), single, double) is None
    assert single_difference(_tensor(1.0007, dtype=torch.float32), single, double) is None
    assert single_difference(_tensor(1.002, dtype=torch.float32), single, double) is not None


def test_a_rounding_error_of_pytorchs_never_hides_a_wrong_formula() -> None:
    single, double = _tensor(1.0, dtype=torch.float32), _tensor(2.0)
    assert single_difference(_tensor(1.5, dtype=torch.float32), single, double) is not None
