"""How figures are compared and written down."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from benchmarks.results import NOISE, Row, Target, figures, page, quantity, verdicts
from benchmarks.timing import compare, interleaved

ROW = Row("work", "some work", "time", {"gradd": [1.0, 2.0, 3.0], "torch": [2.0, 2.0, 2.0], "jax": [1.0, 4.0, 4.0]})


def verdict(row: Row, target: Target) -> tuple[float, bool | None]:
    (found,) = Row(row.name, row.work, row.quantity, row.samples, (target,)).verdicts()
    return found.median, found.met


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    assert verdict(ROW, Target(1.0, ("torch",))) == (1.0, True)
    assert verdict(ROW, Target(0.7, ("jax",))) == (0.75, False)


def test_of_several_peers_the_best_counts() -> None:
    assert verdict(ROW, Target(1.0, ("jax", "torch"))) == (1.0, True)
    rates = Row("work", "some work", "rate", ROW.samples)
    assert verdict(rates, Target(0.5, ("jax", "torch"), at_least=True)) == (0.75, True)


def test_a_target_without_peers_bounds_the_figure() -> None:
    assert verdict(ROW, Target(1.5)) == (2.0, False)


def test_nothing_is_said_of_memory_that_is_noise() -> None:
    small = Row("work", "some work", "memory", {"gradd": [NOISE / 2], "torch": [NOISE / 8]})
    assert verdict(small, Target(1.2, ("torch",)))[1] is None
    assert (
        verdict(Row("w", "w", "memory", {"gradd": [4 * NOISE], "torch": [NOISE / 8]}), Target(1.2, ("torch",)))[1]
        is False
    )


@pytest.mark.parametrize(
    ("value", "of", "written"),
    [
        (1.234e-5, "time", "12.3 µs"),
        (0.00999, "time", "9.99 ms"),
        (0.25, "time", "250 ms"),
        (3.0, "time", "3.00 s"),
        (5 * 2**20, "memory", "5.00 MiB"),
        (1000.0, "memory", "under 1 MiB"),
        (6123.4, "rate", "6,123/s"),
        (1.25, "factor", "1.25 times"),
    ],
)
def test_a_figure_has_three_digits_and_its_unit(value: float, of: str, written: str) -> None:
    assert quantity(value, of) == written  # type: ignore[arg-type]  # parametrised by text


def test_the_page() -> None:
    row = Row("work", "some work", "time", {"gradd": [1.0], "torch": [4.0]}, (Target(0.5, ("torch",)), Target(0.5)))
    broken = Row(
        "other", "other work", "time", targets=(Target(0.5, ("torch",)),), fault="torch's result 0 is not gradd's"
    )
    assert page({"Times": [row, broken], "Nothing": []}, ["Written here."]).splitlines() == [
        "# Measurements",
        "",
        "Written here.",
        "",
        "## Times",
        "",
        "| work | gradd | torch |",
        "| --- | --- | --- |",
        "| some work | 1.00 s | 4.00 s |",
        "| other work |  |  |",
        "",
        "| work | measured | quartiles | target | met |",
        "| --- | --- | --- | --- | --- |",
        "| some work | 0.25 | 0.25 to 0.25 | at most 0.50 of torch | yes |",
        "| some work | 1.00 s | 1.00 s to 1.00 s | at most 500 ms | **no** |",
        "| other work |  |  | at most 0.50 of torch | torch's result 0 is not gradd's |",
    ]


def test_every_row_has_as_many_cells_as_its_head() -> None:
    for table in (figures([ROW]), verdicts([ROW])):
        assert len({line.count("|") for line in table}) == 1


def test_results_that_differ_are_told() -> None:
    ones = np.ones(2)
    assert compare({"gradd": [ones], "close": [ones + 1e-12], "far": [ones + 1e-3]}, rtol=1e-9) == [
        "far's result 0 is not gradd's"
    ]
    assert compare({"gradd": [ones], "single": [np.ones(2, "float32")]}, rtol=1)
    assert compare({"gradd": [ones * np.nan], "same": [ones * np.nan]}, rtol=1)


def test_contestants_take_turns_and_begin_in_turn() -> None:
    order: list[str] = []

    def turn(name: str, calls: int) -> float:
        order.append(name)
        return float(calls)

    samples = interleaved({name: partial(turn, name) for name in ("a", "b")}, rounds=4, seconds=8)
    assert samples == {"a": [1.0] * 4, "b": [1.0] * 4}
    assert order[-8:] == ["a", "b", "b", "a", "a", "b", "b", "a"]
