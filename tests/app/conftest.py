"""An application with its default settings, shared by a module's tests."""

from collections.abc import Iterator

import hypothesis
import pytest

from app.main import create_app
from app.settings import Settings
from tests.app.client import Client, client_of

# Drawn tests judge results, not how busy the machine is.
hypothesis.settings.register_profile("gradd", deadline=None)
hypothesis.settings.load_profile("gradd")


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with client_of(create_app(Settings(concurrency=2))) as client:
        yield client
