"""Runs the suites on one op and counts what comes of it."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.conformance.cases import Case, Skip
from tests.conformance.checks import SUITES, Check
from tests.conformance.errors import ErrorCase
from tests.conformance.exchange import Excepted, Exchange, Post, Unanswered
from tests.conformance.samples import Op
from tests.conformance.server import Answer

NOT_OFFERED = "_not_offered"
"""How the codes end by which the server says that it understands a call and does not offer it."""

DELIBERATE: tuple[tuple[str, str, str], ...] = (
    ("one_hot", "not taken from the values", "num_classes from the values: the shape would depend on them"),
    (
        "addbmm|addmv|baddbmm",
        "is no integer",
        "beta and alpha beside integers: PyTorch cuts off their fraction silently",
    ),
)
"""Other refusals of what PyTorch takes: the op and the detail, as patterns, and why the refusal is right."""

SHOWN = 600
"""How many characters of a request a failure shows."""

COUNTERS = ("passed", "checked", "refused", "skipped", "excepted", "remarks")


@dataclass
class Tally:
    """Counts of one op: by column, how many cases passed and how many were checked; by reason, refusals,
    skips, columns that could not be filled (`excepted`), and `remarks` on how one was.
    """

    op: str
    passed: Counter[str] = field(default_factory=Counter)
    checked: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    excepted: Counter[str] = field(default_factory=Counter)
    remarks: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data, which a test process can hand to another."""
        return {**{name: dict(getattr(self, name)) for name in COUNTERS}, "op": self.op, "failures": self.failures}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Tally:
        """Return the tally that `to_json` wrote."""
        counters = {name: Counter[str](data[name]) for name in COUNTERS}
        return cls(data["op"], **counters, failures=list(data["failures"]))


def tally(name: str, entries: tuple[Op, ...], post: Post) -> Tally:
    """Run every suite on every entry of an op."""
    counts = Tally(name)
    for suite in SUITES:
        for entry in entries:
            for case in suite.draw(entry):
                if isinstance(case, Skip):
                    counts.skipped[case.reason] += 1
                    continue
                exchange = Exchange(case, post)
                reason = None if suite.wants_refusal else _refusal(exchange.answer, name)
                if reason:
                    counts.refused[reason] += 1
                    continue
                trouble = None if suite.wants_refusal or exchange.answer.status == 200 else exchange.answer.trouble
                if trouble:
                    counts.failures.append(_described(f"{suite.checks[0].column} and all others", case, [trouble]))
                for check in suite.checks:
                    _judge(check, exchange, trouble, counts)
    return counts


def _judge(check: Check, exchange: Exchange[Any], trouble: str | None, counts: Tally) -> None:
    """Fill one column for one case."""
    try:
        problems = [] if trouble else check.judge(exchange)
    except Unanswered as answered:
        problems = [str(answered)]
    if problems is None:
        return
    if isinstance(problems, Excepted):
        counts.excepted[f"{check.column}: {problems.reason}"] += 1
        return
    counts.remarks.update(f"{check.column}: {remark}" for remark in exchange.remarks)
    exchange.remarks.clear()
    counts.checked[check.column] += 1
    counts.passed[check.column] += not (trouble or problems)
    if problems:
        counts.failures.append(_described(check.column, exchange.case, problems))


def _refusal(answer: Answer, op: str) -> str | None:
    """Return the reason why a call is not offered, if the server says so."""
    if answer.status != 422:
        return None
    codes = sorted({error["code"] for error in answer.body["errors"]})
    if codes and all(code.endswith(NOT_OFFERED) for code in codes):
        return ", ".join(codes)
    details = " ".join(error["detail"] for error in answer.body["errors"])
    return next((why for ops, told, why in DELIBERATE if re.fullmatch(ops, op) and re.search(told, details)), None)


def _described(column: str, case: Case | ErrorCase, problems: list[str]) -> str:
    return f"{column}, {case.label}: {'; '.join(problems)}\n    {str(case.request)[:SHOWN]}"
