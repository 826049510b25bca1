"""The README's table of ratios, made of what RESULTS.md says. A full run writes both; a test holds them together."""

from __future__ import annotations

import re
from collections.abc import Sequence

HEAD = ("| Work | Ratio to |", "|---|---|")
_TABLE = re.compile(re.escape(HEAD[0]) + r"\n(?:\|.*\n)+")
_VERDICT = re.compile(r"^\| (.+?) \| ([\d.]+) \| [\d.]+ to [\d.]+ \| at \w+ [\d.]+ of (.+?) \| ", re.MULTILINE)


def table(results: str, sections: Sequence[str]) -> str:
    """Return the table of the ratios in these sections of the page of results, a line for each kind of work."""
    ratios: dict[str, list[str]] = {}
    for part in results.split("\n## ")[1:]:
        if part.splitlines()[0] in sections:
            for work, measured, peer in _VERDICT.findall(part):
                ratios.setdefault(work, []).append(f"{peer}: {measured}")
    return "\n".join([*HEAD, *[f"| {work} | {'; '.join(found)} |" for work, found in ratios.items()], ""])


def updated(readme: str, results: str, sections: Sequence[str]) -> str:
    """Return the README with its table as the results have it."""
    return _TABLE.sub(lambda _: table(results, sections), readme)
