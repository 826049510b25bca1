"""Runs the suites on one op and counts what comes of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.conformance.cases import Case, Skip
from tests.conformance.checks import SUITES, Exchange, Post
from tests.conformance.errors import ErrorCase
from tests.conformance.samples import Op
from tests.conformance.server import Answer

NOT_OFFERED = "_not_offered"
"""How the codes end by which the server says that it understands a call and does not offer it."""

SHOWN = 600
"""How many characters of a request a failure shows."""

COUNTERS = ("passed", "checked", "refused", "skipped")


@dataclass
class Tally:
    """Counts of one op: by column, how many cases passed and how many were checked; refusals and skips by reason."""

    op: str
    passed: Counter[str] = field(default_factory=Counter)
    checked: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data, which a test process can hand to another."""
        return {**{name: dict(getattr(self, name)) for name in COUNTERS}, "op": self.op, "failures": self.failures}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Tally:
        """Return the tally that `to_json` wrote."""
        return cls(data["op"], *(Counter(data[name]) for name in COUNTERS), failures=list(data["failures"]))


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
                trouble = None if suite.wants_refusal else _trouble(exchange.answer, counts)
                if trouble == "":
                    continue
                if trouble:
                    counts.failures.append(_described(f"{suite.checks[0].column} and all others", case, [trouble]))
                for check in suite.checks:
                    problems = [] if trouble else check.judge(exchange)
                    if problems is None:
                        continue
                    counts.checked[check.column] += 1
                    counts.passed[check.column] += not (trouble or problems)
                    if problems:
                        counts.failures.append(_described(check.column, case, problems))
    return counts


def _trouble(answer: Answer, counts: Tally) -> str | None:
    """Return what is wrong with an answer that has no numbers; "" where it says that the call is not offered."""
    if answer.status == 200:
        return None
    codes = {error["code"] for error in answer.body["errors"]} if isinstance(answer.body, dict) else set()
    if answer.status == 422 and codes and all(code.endswith(NOT_OFFERED) for code in codes):
        counts.refused[", ".join(sorted(codes))] += 1
        return ""
    detail = answer.body.get("errors") or answer.body.get("detail") if isinstance(answer.body, dict) else answer.body
    return f"answered with {answer.status}: {detail}"


def _described(column: str, case: Case | ErrorCase, problems: list[str]) -> str:
    return f"{column}, {case.label}: {'; '.join(problems)}\n    {str(case.request)[:SHOWN]}"
