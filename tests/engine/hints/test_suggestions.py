"""Suggestions name the known names most similar to an unknown one, within a budget of comparisons."""

from __future__ import annotations

import random
from difflib import get_close_matches

import pytest

from engine.graph.types import DTYPES
from engine.hints.suggestions import MAX_COMPARED, Suggestions, did_you_mean
from engine.inspect.catalogue import names


def test_up_to_three_names_are_suggested() -> None:
    assert did_you_mean("negtive", ["nothing", "positive", "negative"]) == "Did you mean 'negative' or 'positive'?"
    assert did_you_mean("name", [f"name{index}" for index in range(9)]).count("'") == 6


def test_nothing_is_suggested_for_a_name_that_resembles_none() -> None:
    assert did_you_mean("weights", ["x", "target", ""]) == ""
    assert did_you_mean("", ["x"]) == ""
    assert did_you_mean("x", []) == ""


def test_each_comparison_counts_against_the_budget() -> None:
    suggestions = Suggestions(comparisons=5)
    assert suggestions.did_you_mean("nam", ["name", "other", "third"])
    assert suggestions.comparisons == 2
    assert suggestions.did_you_mean("nam", ["other", "third", "name"]) == ""
    assert suggestions.comparisons == 0
    assert suggestions.did_you_mean("nam", ["name"]) == ""


def test_longer_names_are_not_compared() -> None:
    suggestions = Suggestions(comparisons=5)
    assert suggestions.did_you_mean("n" * (MAX_COMPARED + 1), ["n" * MAX_COMPARED]) == ""
    assert suggestions.comparisons == 5
    assert suggestions.did_you_mean("n" * MAX_COMPARED, ["n" * (MAX_COMPARED - 1)])


def mistyped(name: str, draw: random.Random) -> str:
    """A name with a letter missing, doubled, exchanged or in its neighbour's place."""
    at = draw.randrange(len(name))
    other = draw.choice("aeiou_xyz")
    ways = [name[:at] + name[at + 1 :], name[:at] + name[at:][:1] + name[at:], name[:at] + other + name[at + 1 :]]
    return draw.choice([*ways, name[:at] + name[at:][:2][::-1] + name[at + 2 :]])


@pytest.mark.parametrize("known", [names(), list(DTYPES)], ids=["ops", "dtypes"])
def test_mistyped_names_are_found_as_often_as_difflib_finds_them(known: list[str]) -> None:
    draw = random.Random(0)
    drawn = [name for name in known for _ in range(10)]
    typed = [(name, mistyped(name, draw)) for name in drawn]
    found = sum(f"{name!r}" in did_you_mean(wrong, known) for name, wrong in typed)
    found_by_difflib = sum(name in get_close_matches(wrong, known, n=3, cutoff=0.6) for name, wrong in typed)
    assert found >= found_by_difflib > 0.8 * len(typed)
