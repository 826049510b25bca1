"""Applications whose workers have faults planted in them."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from app.main import create_app
from app.settings import Settings
from tests.app.client import Client, client_of
from tests.promises import planted

Faulty = Callable[..., AbstractContextManager[Client]]


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Faulty:
    """Give clients of applications that compute everything in such workers, one of them unless the settings say so."""
    monkeypatch.setattr("app.workers.fork_server_process._START", planted.START)

    @contextmanager
    def made(**settings: Any) -> Iterator[Client]:
        with client_of(create_app(Settings(**{"concurrency": 1, "inline_ms": 0, **settings}))) as client:
            client.until(lambda: ready(client))
            yield client

    return made


def ready(client: Client) -> bool:
    """Whether the fork server of an application has answered."""
    fork_server = client.services.dispatcher.workers._fork_server
    return fork_server is not None and fork_server.is_ready
