"""What a Markdown page is made of, as far as its tests look: fenced blocks with their info strings, headings, links.

Blocks say on their first line what they are:

    ```bash                             commands; those of curl are run
    ```json POST /v1/gradients          a request, posted as it stands
    ```json reply                       what the command or request before it answers, shortened to some members
    ```json reply 422                   the same, with another status than 200
    ```text reply                       what the command before it prints, as it stands
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.serving import CHECKOUT

PAGES = sorted(
    [
        *CHECKOUT.glob("*.md"),
        *CHECKOUT.glob("benchmarks/*.md"),
        *CHECKOUT.glob("docs/**/*.md"),
        *CHECKOUT.glob("examples/**/*.md"),
    ]
)


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, the words behind its fence, what is in it."""

    page: Path
    line: int
    language: str
    info: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(CHECKOUT)}:{self.line}"


@dataclass(frozen=True)
class Section:
    """A heading and the prose up to the next one."""

    title: str
    text: str


def blocks(page: Path) -> Iterator[Block]:
    """Yield the page's fenced blocks in order."""
    begin, info, lines = 0, "", list[str]()
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.startswith("```"):
            lines.append(line)
        elif begin:
            language, _, rest = info.partition(" ")
            yield Block(page, begin, language, rest, "\n".join(lines))
            begin = 0
        else:
            begin, info, lines = number, line[3:].strip(), []
    assert not begin, f"{page}:{begin}: the block has no end"


def prose(page: Path) -> str:
    """Return the page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def sections(page: Path) -> list[Section]:
    """Return the page's sections, without their fenced blocks."""
    parts = re.split(r"^#+ +(.*)$", prose(page), flags=re.MULTILINE)[1:]
    return [Section(title, text.strip()) for title, text in zip(parts[::2], parts[1::2], strict=True)]


def links(page: Path) -> list[str]:
    """Return the targets of the page's links."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(page))


def anchors(page: Path) -> set[str]:
    """Return the fragments that lead to the page's headings."""
    plain = (re.sub(r"[^\w\s-]", "", section.title.lower()) for section in sections(page))
    return {title.strip().replace(" ", "-") for title in plain}
