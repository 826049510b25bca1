"""Scenarios of the service benchmarks: gradd replies to the requests, and its gradients are read correctly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app.routes.examples.inline import TUTORIAL
from benchmarks.results import TITLES
from benchmarks.service.client import sender
from benchmarks.service.exchanges import SCENARIOS, Scenario, base64, large_json
from benchmarks.service.servers import SERVERS
from tests.serving import server, tutorial_gradients

SIZE = 5
POINT = np.random.default_rng(9).standard_normal(SIZE)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with server(tmp_path_factory.mktemp("benchmarks") / "serve.log") as url:
        yield int(url.rsplit(":", 1)[1])


def scenario(name: str) -> Scenario:
    return next(known for known in SCENARIOS if known.name == name)


def gradient(port: int, name: str) -> np.ndarray:
    known = scenario(name)
    contestant = known.requests(port, **dict.fromkeys(known.sizes, SIZE))["gradd"]
    assert contestant.read is not None
    with sender(port, contestant.request) as send:
        return contestant.read(bytes(send()))


@pytest.mark.parametrize("name", ["http_inline", "http_registered"])
def test_the_tutorials_gradient_is_read(name: str, port: int) -> None:
    np.testing.assert_allclose(gradient(port, name), tutorial_gradients(TUTORIAL["graph"])["w"])


@pytest.mark.parametrize("name", ["json_1m", "msgpack_1m", "tesseract_small", "tesseract_10m"])
def test_the_gradient_of_a_sum_of_tanh_is_read(name: str, port: int) -> None:
    np.testing.assert_allclose(gradient(port, name), 1 - np.tanh(POINT) ** 2)


def test_peers_get_the_same_request(port: int) -> None:
    requests = large_json(port, SIZE)
    assert requests["torch_server"].request == requests["gradd"].request
    text = base64(port, SIZE)["gradd"].request.body.split(b'"data":"')[1].split(b'"')[0]
    assert text in base64(port, SIZE)["tesseract"].request.body


def test_contestants_have_servers_and_titles(port: int) -> None:
    requests = {**scenario("http_inline").requests(port), **base64(port, SIZE), **large_json(port, SIZE)}
    assert requests.keys() <= TITLES.keys()
    assert {one.server for one in requests.values()} <= SERVERS.keys()


def test_the_files_of_peers_exist() -> None:
    for known in SERVERS.values():
        for value in known.environment.values():
            assert Path(value).is_file()
