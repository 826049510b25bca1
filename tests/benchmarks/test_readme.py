"""The README's ratios are those of RESULTS.md, which a full run writes."""

from __future__ import annotations

from benchmarks.command import IN_README, PAGE, README
from benchmarks.readme import table, updated
from benchmarks.results import Row, Target, page

ROW = Row(
    "work",
    "some work",
    "time",
    {"gradd": [1.0], "torch": [4.0], "jax": [2.0], "autograd": [0.25]},
    (Target(0.5, ("torch",)),),
)
OTHER = Row("work", "some work", "time", ROW.samples, (Target(0.5, ("torch", "jax")), Target(0.5)))
RESULTS = page({"Times": [ROW, OTHER], "Others": [ROW]}, [])


def test_the_readme_shows_the_ratios_of_the_last_full_run() -> None:
    readme, results = (path.read_text(encoding="utf-8") for path in (README, PAGE))
    assert table(results, IN_README) in readme


def test_the_table_has_every_peer_on_the_side_of_its_ratio() -> None:
    lines = table(RESULTS, ["Times"]).splitlines()
    assert lines == [
        "| Work | gradd | Faster than | Slower than |",
        "|---|---|---|---|",
        *["| some work | 1.00 s | torch: 4.0 times, jax.jit: 2.0 times | autograd: 4.0 times |"] * 2,
    ]


def test_only_the_table_is_written_anew() -> None:
    before = "# Title\n\nWords.\n\n{}\nMore words.\n\n| Other | table |\n|---|---|\n"
    old = "| Work | gradd | Faster than | Slower than |\n|---|---|---|---|\n| some work | 1 s | torch: 9.99 times | |\n"
    assert updated(before.format(old), RESULTS, ["Times"]) == before.format(table(RESULTS, ["Times"]))
