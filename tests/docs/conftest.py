"""The server that the pages' requests are sent to: this checkout's own, in a process of its own."""

from collections.abc import Iterator

import httpx
import pytest

from tests.serving import PATIENCE_S, server


@pytest.fixture(scope="session")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The root of the server's addresses."""
    with server(tmp_path_factory.mktemp("docs") / "serve.log") as url:
        yield url


@pytest.fixture(scope="session")
def http(base_url: str) -> Iterator[httpx.Client]:
    """A client of it."""
    with httpx.Client(base_url=base_url, timeout=PATIENCE_S, trust_env=False) as client:
        yield client
