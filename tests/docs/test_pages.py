"""What the pages must have: every setting, limit and endpoint, links that lead somewhere, and words that a reader of
the project can use.
"""

from __future__ import annotations

import json
import re
import shlex
import unicodedata
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.evaluation.operations import OPERATIONS
from app.main import create_app
from app.routes.examples.inline import TUTORIAL
from app.settings import Settings
from tests.docs.commands import command_lines
from tests.docs.markdown import PAGES, anchors, blocks, links, sections
from tests.serving import CHECKOUT

README = CHECKOUT / "README.md"
ENDPOINTS = CHECKOUT / "docs" / "endpoints.md"
SETTINGS = CHECKOUT / "docs" / "settings.md"

COMPUTED = {"concurrency": "the available cores"}
"""Defaults that are found out when the server starts."""

KNOWN_HOSTS = {"127.0.0.1:8000", "keepachangelog.com", "semver.org"}
"""Where pages may send a reader."""

PLAIN = {
    "a promise instead of a fact": r"\b(coming soon|to be done|TODO|FIXME|XXX|stay tuned)\b",
    "praise": r"\b(blazing|lightning|seamless|effortless|powerful|cutting.edge|world.class|state.of.the.art|awesome)\b",
    "a folder of somebody's machine": r"(?<![\w.:/~-])/(home|root|Users|mnt|work)/",
    "an index of packages": r"\b(pypi|pythonhosted|npmjs|crates\.io|index-url)\b",
}
"""What no page has, as patterns."""


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def shown_rows(heading: str) -> list[str]:
    """Return the settings that have a row below a heading."""
    text = next(section.text for section in sections(SETTINGS) if section.title == heading)
    return re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_setting_has_its_row(name: str) -> None:
    field = Settings.model_fields[name]
    written = field.default if isinstance(field.default, str) else json.dumps(field.default)
    default = COMPUTED.get(name, f"`{written}`")
    assert f"| `GRADD_{name.upper()}` | {default} | {field.description} |" in text_of(SETTINGS).splitlines()


def test_limits_stand_apart_from_other_settings(http: httpx.Client) -> None:
    limits = [f"GRADD_{name.upper()}" for name in http.get("/v1/limits").json()]
    others = [name for field in Settings.model_fields if (name := f"GRADD_{field.upper()}") not in limits]
    assert (shown_rows("Limits"), shown_rows("Other settings")) == (limits, others)


def test_no_other_setting_is_mentioned() -> None:
    known = {f"GRADD_{name.upper()}" for name in Settings.model_fields}
    assert {name for page in PAGES for name in re.findall(r"GRADD_[A-Z_]*[A-Z]", text_of(page))} <= known


def operations() -> list[tuple[str, str]]:
    paths: dict[str, dict[str, Any]] = create_app().openapi()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


@pytest.mark.parametrize(("method", "path"), operations())
def test_an_endpoint_has_a_paragraph(method: str, path: str) -> None:
    heading = f"`{method} {path}`"
    found = [section for section in sections(ENDPOINTS) if heading in section.title]
    assert len(found) == 1, f"docs/endpoints.md has no heading with {heading}"
    assert len(found[0].text) > 80
    assert heading in text_of(README)


def test_no_other_endpoint_is_documented() -> None:
    known = {f"{method} {path}" for method, path in operations()} | {"GET /docs"}
    for page in (README, ENDPOINTS):
        shown = set(re.findall(r"`((?:GET|POST|DELETE|PUT) /[^`\s]*)`", text_of(page)))
        assert shown <= known


def members(title: str) -> set[str]:
    """Return the members in the table below a heading of the endpoints' page."""
    text = next(section.text for section in sections(ENDPOINTS) if section.title == title)
    return set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_members_of_a_request_are_documented(name: str) -> None:
    common, own = members("Members of every derivative"), members(f"`POST /v1/{name}`")
    assert common | own == set(OPERATIONS[name].request.model_fields)
    assert not common & own


def test_the_first_call_is_what_make_run_prints() -> None:
    first = next(block for block in blocks(README) if "curl" in block.text)
    words = shlex.split(next(command_lines(first)))
    assert json.loads(words[words.index("-d") + 1]) == TUTORIAL


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if "://" in link:
            assert link.split("/")[2] in KNOWN_HOSTS, link
            continue
        path, _, fragment = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name} links to {link}"
        assert not fragment or fragment in anchors(target), f"{page.name} links to {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_words(page: Path) -> None:
    text = text_of(page)
    for what, pattern in PLAIN.items():
        assert not re.findall(pattern, text, re.IGNORECASE), f"{page.name} has {what}"
    pictures = {letter for letter in text if unicodedata.category(letter) == "So" or ord(letter) > 0xFFFF}
    assert not pictures
    addresses = set(re.findall(r"https?://([^/\s`'\")]+)", text))
    assert addresses <= KNOWN_HOSTS
