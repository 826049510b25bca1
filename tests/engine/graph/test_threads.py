"""Work in parts, on several cores: the parts' results are in order, and products are those of the whole."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info

import engine.execute.numpy.runner  # noqa: F401
from engine.execute.numpy import products
from engine.execute.numpy.kernels import kernel_of
from engine.graph import threads as cores
from engine.ops.linalg.matmul import PRODUCT


@pytest.fixture
def three_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (cores, products):
        monkeypatch.setattr(module, "CORES", 3)
    monkeypatch.setattr(products, "WORTH_CORES", 0)


@pytest.mark.usefixtures("three_cores")
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_results_of_parts_are_in_their_order(count: int) -> None:
    assert cores.shared(lambda a, b: a + b, [(n, 10 * n) for n in range(count)]) == [11 * n for n in range(count)]


@pytest.mark.usefixtures("three_cores")
@pytest.mark.parametrize("place", [0, 1])
def test_the_other_parts_have_ended_when_one_fails(place: int) -> None:
    ended: list[int] = []
    waits = threading.Event()

    def part(number: int) -> None:
        if number == place:
            waits.set()
            raise ValueError("refused")
        waits.wait(5)
        ended.append(number)

    with pytest.raises(ValueError, match="refused"):
        cores.shared(part, [(0,), (1,)])
    assert ended == [1 - place]


@pytest.mark.usefixtures("three_cores")
def test_computations_that_run_beside_each_other_share_the_cores() -> None:
    with cores.computing():
        assert cores.available() == 3
        with cores.computing(), cores.computing():
            assert cores.available() == 1
    assert cores.available() == 3


def test_blas_has_one_thread_but_where_it_is_given_more() -> None:
    def threads(*arrays: Any) -> set[int]:
        return {library["num_threads"] for library in threadpool_info() if "numpy.libs" in library["filepath"]}

    assert threads() <= {1}
    assert cores.with_threads_of_blas(threads)() <= {cores.available()}
    assert threads() <= {1}


@pytest.mark.usefixtures("three_cores")
@pytest.mark.parametrize("dtype", ["float64", "int64", "float16"])
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((7, 5), (5, 4)),
        ((4, 5), (5, 7)),
        ((2, 50), (50, 2)),
        ((2, 3), (3, 1)),
        ((4, 2, 3), (4, 3, 2)),
        ((2, 3, 2, 3), (1, 3, 3, 2)),
        ((2, 2, 2, 3), (2, 1, 3, 4)),
        ((1, 6, 3), (1, 3, 2)),
    ],
)
def test_a_product_in_parts_is_the_whole_product(left: tuple[int, ...], right: tuple[int, ...], dtype: str) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-9, 9, shape).astype(dtype) for shape in (left, right))
    found = kernel_of(PRODUCT)(a, b)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.matmul(a.astype("float64"), b.astype("float64")))
