"""Replicas that share a PostgreSQL database, behind nginx."""

from collections.abc import Iterator

import pytest

from tests.app.graphs import postgres
from tests.scale.replicas import Deployment, deployment, nginx


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgres.Cluster]:
    assert postgres.binaries() is not None, "PostgreSQL is not installed"
    with postgres.running() as cluster:
        yield cluster


@pytest.fixture(scope="module", params=[2, 4], ids=lambda count: f"{count}-replicas")
def deployed(
    request: pytest.FixtureRequest, cluster: postgres.Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """Two and four replicas."""
    assert nginx() is not None, "nginx is not installed"
    folder = tmp_path_factory.mktemp("replicas")
    with deployment(request.param, cluster.store(), folder) as made:
        yield made
