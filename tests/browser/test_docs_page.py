"""The page at /docs as somebody sees it who has never heard of the service: in a real browser, without a network, every
"Try it out" runs as it stands. Chromium is the one on the path, or the one that `CHROMIUM` names.
"""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Locator, Page, Request, expect, sync_playwright

from tests.serving import check_tutorial_gradients, server

pytestmark = pytest.mark.browser

FLAGS = [
    "--no-sandbox",  # the sandbox cannot start where tests run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # No name resolves: what the page needs, the server itself must have.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
]
# The first operations make what the later ones name, the last take it away.
ORDER = {"POST /v1/graphs": -1, "DELETE /v1/graphs/{id}": 1}


@dataclass
class DocsPage:
    """The page at /docs with what it asked for and complained about since it was opened."""

    page: Page
    foreign: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def watch_request(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme != "data" and address.hostname != "127.0.0.1":
            self.foreign.append(request.url)

    def operations(self) -> list[str]:
        """Every operation on the page as "POST /v1/gradients"."""
        return sorted(map(self._name, self._blocks()), key=lambda name: ORDER.get(name, 0))

    def try_out(self, name: str) -> tuple[str, int, str]:
        """Unfold an operation, press "Try it out" and "Execute": the request's body, the status, the reply's body."""
        block = next(block for block in self._blocks() if self._name(block) == name)
        # The page may come with either of them done, and pressing once more would undo it.
        unfold, try_out = block.locator(".opblock-summary-control"), block.locator(".try-out__btn")
        if unfold.get_attribute("aria-expanded") == "false":
            unfold.click()
        expect(try_out).to_be_visible()
        if try_out.inner_text().startswith("Try it out"):
            try_out.click()
        body = block.locator("textarea.body-param__text")
        request = body.input_value() if body.count() else ""
        block.locator("button.execute").click()
        reply = block.locator(".live-responses-table .response")
        try:
            expect(reply).to_be_visible(timeout=20_000)
        except AssertionError:
            return request, 0, "no reply: a required field is empty, or the server hangs"
        status = int(reply.locator(".response-col_status").inner_text().split()[0])
        text = reply.locator(".response-col_description pre").first.inner_text()
        unfold.click()
        return request, status, text

    def _blocks(self) -> list[Locator]:
        """The operations, once the page has drawn them: it does so in one go, after it has read the description."""
        blocks = self.page.locator(".opblock")
        expect(blocks.first).to_be_visible(timeout=30_000)
        listed: list[Locator] = blocks.all()
        return listed

    @staticmethod
    def _name(block: Locator) -> str:
        method = block.locator(".opblock-summary-method").inner_text()
        # The page puts an invisible space before each slash, where a line may break.
        path = block.locator(".opblock-summary-path").inner_text().replace("\u200b", "")
        return f"{method} {path}"


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with server(tmp_path_factory.mktemp("server") / "log") as address:
        yield address


@pytest.fixture(scope="module")
def docs(base_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DocsPage]:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "Chromium is not installed (apt install chromium), and CHROMIUM does not name one"
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=chromium,
            args=FLAGS,
            viewport={"width": 1280, "height": 1600},
        )
        docs = DocsPage(context.new_page())
        docs.page.on("request", docs.watch_request)
        docs.page.on("pageerror", lambda error: docs.complaints.append(str(error)))
        docs.page.on("console", lambda said: docs.complaints.append(said.text) if said.type == "error" else None)
        docs.page.goto(f"{base_url}/docs")
        yield docs
        context.close()


def test_the_tutorial_runs_as_it_stands(docs: DocsPage, tmp_path: Path) -> None:
    request, status, reply = docs.try_out("POST /v1/gradients")
    assert status == 200, reply
    check_tutorial_gradients(json.loads(request)["graph"], json.loads(reply)["gradients"])
    docs.page.screenshot(path=tmp_path / "docs.png", full_page=True)


def test_every_operation_runs_as_it_stands(docs: DocsPage) -> None:
    docs.page.reload()
    operations = docs.operations()
    assert "POST /v1/gradients" in operations
    failed = {}
    for operation in operations:
        _, status, reply = docs.try_out(operation)
        if not 200 <= status < 300:
            failed[operation] = f"{status} {reply[:500]}"
    assert not failed


def test_the_page_asks_nobody_else(docs: DocsPage) -> None:
    assert docs.foreign == []


def test_the_console_shows_no_error(docs: DocsPage) -> None:
    assert docs.complaints == []
