"""Metrics, labels and values that an expression of Prometheus' query language reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

FUNCTIONS = {"histogram_quantile", "increase", "label_values", "rate", "vector"}
AGGREGATIONS = {"max", "min", "sum"}
CLAUSES = {"by", "without", "on", "ignoring"}
OPERATORS = {"and", "or", "unless"}

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*")|(?P<range>\[[^\]]+\])|(?P<name>[a-zA-Z_:][\w:]*)|(?P<number>[\d.]+)
    |(?P<sign>=~|!~|!=|==|>=|<=|[-+*/<>={}(),]))""",
    re.VERBOSE,
)


class Matcher(NamedTuple):
    """A condition on a label, as `status=~"5.."`."""

    label: str
    operator: str
    value: str


class Selector(NamedTuple):
    """A metric with its conditions. `is_range` is whether it reads a range of time."""

    metric: str
    matchers: list[Matcher]
    is_range: bool


class Expression(NamedTuple):
    """The metrics that an expression reads, and the labels by which it groups them."""

    selectors: list[Selector]
    groups: set[str]


def tokens(text: str) -> Iterator[tuple[str, str]]:
    """Yield kind and text of each token. Raises ValueError."""
    at = 0
    text = text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ValueError(f"{text!r} is not read from {text[at:]!r} on")
        kind = found.lastgroup or ""
        yield kind, found[kind]
        at = found.end()


def read(text: str) -> Expression:
    """Return what an expression reads. Raises ValueError."""
    found = list(tokens(text))
    if [sign for _, sign in found if sign in "({"] and text.count("(") != text.count(")"):
        raise ValueError(f"{text!r} has parentheses without a pair")
    selectors: list[Selector] = []
    groups: set[str] = set()
    at = 0
    while at < len(found):
        kind, name = found[at]
        at += 1
        following = found[at][1] if at < len(found) else ""
        if kind != "name" or name in OPERATORS:
            continue
        if name in CLAUSES:
            end = next(index for index in range(at, len(found)) if found[index][1] == ")")
            groups |= {label for kind, label in found[at:end] if kind == "name"}
            at = end + 1
        elif name in FUNCTIONS | AGGREGATIONS:
            if following not in {"(", *CLAUSES}:
                raise ValueError(f"{text!r}: {name} has no arguments")
        else:
            matchers: list[Matcher] = []
            if following == "{":
                end = next(index for index in range(at, len(found)) if found[index][1] == "}")
                inside = [token for _, token in found[at + 1 : end]]
                if inside[3::4] != [","] * len(inside[3::4]):
                    raise ValueError(f"{text!r}: conditions without commas")
                parts = zip(inside[::4], inside[1::4], inside[2::4], strict=True)
                matchers = [Matcher(label, operator, value.strip('"')) for label, operator, value in parts]
                at = end + 1
            selectors.append(Selector(name, matchers, at < len(found) and found[at][0] == "range"))
    return Expression(selectors, groups)
