"""The server that the examples talk to: this checkout's own, one for the whole suite. What trains with scikit-learn's
data is collected where that is installed, which `make examples` sees to.
"""

import importlib.util
from collections.abc import Iterator

import pytest

from tests.serving import server

collect_ignore = [] if importlib.util.find_spec("sklearn") else ["test_digits.py"]


@pytest.fixture(scope="session")
def gradd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The root of the server's addresses."""
    with server(tmp_path_factory.mktemp("gradd") / "serve.log") as base_url:
        yield base_url
