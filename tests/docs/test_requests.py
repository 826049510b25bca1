"""Every request and every command that a page shows is sent to a server, and answered as the page says."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import httpx
import pytest

from tests.docs.commands import HERE, command_lines
from tests.docs.markdown import PAGES, Block, blocks
from tests.docs.shown import difference, read
from tests.serving import PATIENCE_S

SHOWN_URL = "http://127.0.0.1:8000"


@dataclass(frozen=True)
class Answer:
    """What a block gave: a status, if it has one, and text."""

    text: str
    status: int | None = None


@dataclass(frozen=True)
class Example:
    """A block that asks for something, and the block with what is answered, if the page shows it."""

    asks: Block
    shows: Block | None = None


def examples() -> Iterator[Example]:
    for page in PAGES:
        listed = list(blocks(page))
        for block, following in zip_longest(listed, listed[1:]):
            shows = following if following and following.info.startswith("reply") else None
            if not block.info.startswith("reply"):
                yield Example(block, shows)


REQUESTS = [example for example in examples() if example.asks.language == "json"]
PROGRAMS = [example for example in examples() if example.asks.language == "python"]
COMMANDS = [
    example
    for example in examples()
    if example.asks.language == "bash" and any(HERE.match(line) for line in command_lines(example.asks))
]


def check(example: Example, answer: Answer) -> None:
    """Hold what was answered against the block that shows it."""
    if example.shows is None:
        return
    if example.shows.language == "text":
        assert answer.text.strip() == example.shows.text.strip(), str(example.shows)
        return
    problem = difference(read(example.shows.text), json.loads(answer.text))
    assert problem is None, f"{example.shows}: {problem}"


@pytest.mark.parametrize("example", REQUESTS, ids=lambda example: str(example.asks))
def test_a_request_is_answered_as_shown(example: Example, http: httpx.Client) -> None:
    method, path = example.asks.info.split()
    reply = http.request(method, path, content=example.asks.text, headers={"content-type": "application/json"})
    status = example.shows.info.removeprefix("reply").strip() if example.shows else ""
    assert reply.status_code == int(status or 200), reply.text
    check(example, Answer(reply.text))


@pytest.mark.parametrize("example", COMMANDS, ids=lambda example: str(example.asks))
def test_a_command_prints_what_is_shown(example: Example, base_url: str, tmp_path: Path) -> None:
    lines = list(command_lines(example.asks))
    assert all(HERE.match(line) for line in lines), f"{example.asks}: commands of different suites stand in one block"
    if any("curl" in line for line in lines) and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    script = example.asks.text.replace(SHOWN_URL, base_url).replace(".venv/bin/", f"{Path(sys.executable).parent}/")
    done = subprocess.run(
        ["bash", "-ec", script], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    check(example, Answer(done.stdout))


@pytest.mark.parametrize("example", PROGRAMS, ids=lambda example: str(example.asks))
def test_a_program_prints_what_is_shown(example: Example, base_url: str) -> None:
    program = example.asks.text.replace(SHOWN_URL, base_url)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    check(example, Answer(done.stdout))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_says_what_it_is(page: Path) -> None:
    listed = list(blocks(page))
    for block, before in zip(listed, [None, *listed], strict=False):
        if block.info.startswith("reply"):
            assert before, f"{block}: a reply to nothing"
            assert not before.info.startswith("reply"), f"{block}: a second reply"
        elif block.language == "json":
            assert block.info.split()[:1] in (["POST"], ["GET"], ["DELETE"]), f"{block}: neither a request nor a reply"
        else:
            assert block.language in {"bash", "text", "mermaid", "python"}, f"{block}: {block.language!r}"
