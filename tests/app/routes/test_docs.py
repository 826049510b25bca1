"""The documentation page comes whole from this server."""

import re

import pytest

from app.main import create_app
from app.settings import Settings
from tests.app.client import Client, client_of


def test_the_page_and_all_that_it_names_are_here(client: Client) -> None:
    page = client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(named) == 4
    for name in named:
        assert client.get(f"/{name}").status_code == 200
    assert client.get("/favicon.ico").headers["content-type"] == "image/svg+xml"


@pytest.mark.parametrize("path", ["/docs", "/docs/docs.js"])
def test_no_other_server_is_named(client: Client, path: str) -> None:
    assert not re.search(r"https?://", client.get(path).text)


def test_no_script_but_this_server_s_may_run(client: Client) -> None:
    policy = client.get("/docs").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy


def test_the_root_leads_to_it(client: Client) -> None:
    reply = client.get("/")
    assert (reply.status_code, reply.headers["location"]) == (307, "docs")


def test_it_can_be_left_out() -> None:
    with client_of(create_app(Settings(docs=False))) as client:
        assert client.get("/docs").status_code == 404
        assert client.get("/").headers["location"] == "openapi.json"
        assert client.get("/openapi.json").status_code == 200
