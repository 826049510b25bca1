"""An application with its default settings, shared by a module's tests; the databases of stores."""

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from app.main import create_app
from app.settings import Settings
from tests.app.client import Client, client_of
from tests.app.graphs import postgres

# Drawn tests judge results, not how busy the machine is.
hypothesis.settings.register_profile("gradd", deadline=None)
hypothesis.settings.load_profile("gradd")


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with client_of(create_app(Settings(concurrency=2))) as client:
        yield client


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgres.Cluster]:
    if postgres.binaries() is None:
        pytest.skip("PostgreSQL is not installed")
    with postgres.running() as cluster:
        yield cluster


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The location of a new store, in each kind of database."""
    if request.param == "sqlite":
        return str(tmp_path / "graphs.sqlite")
    cluster: postgres.Cluster = request.getfixturevalue("cluster")
    return cluster.store()
