"""The questions that the service is measured by: gradd answers them, and what is read from its replies is right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app.routes.examples.inline import TUTORIAL
from benchmarks.results import TITLES
from benchmarks.service.client import asking
from benchmarks.service.exchanges import EXCHANGES, Scenario, base64, large_json
from benchmarks.service.servers import SERVERS
from tests.serving import server, tutorial_gradients

SIZE = 5
POINT = np.random.default_rng(9).standard_normal(SIZE)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with server(tmp_path_factory.mktemp("benchmarks") / "serve.log") as url:
        yield int(url.rsplit(":", 1)[1])


def exchange(name: str) -> Scenario:
    return next(known for known in EXCHANGES if known.name == name)


def gradient(port: int, name: str) -> np.ndarray:
    known = exchange(name)
    asked = known.asked(port, **dict.fromkeys(known.sizes, SIZE))["gradd"]
    assert asked.read is not None
    with asking(port, asked.question) as ask:
        return asked.read(bytes(ask()))


@pytest.mark.parametrize("name", ["http_inline", "http_registered"])
def test_the_tutorials_gradient_is_read(name: str, port: int) -> None:
    np.testing.assert_allclose(gradient(port, name), tutorial_gradients(TUTORIAL["graph"])["w"])


@pytest.mark.parametrize("name", ["json_1m", "msgpack_1m", "tesseract_small", "tesseract_10m"])
def test_the_gradient_of_a_sum_of_tanh_is_read(name: str, port: int) -> None:
    np.testing.assert_allclose(gradient(port, name), 1 - np.tanh(POINT) ** 2)


def test_peers_are_asked_the_same(port: int) -> None:
    asked = large_json(port, SIZE)
    assert asked["torch_server"].question == asked["gradd"].question
    text = base64(port, SIZE)["gradd"].question.body.split(b'"data":"')[1].split(b'"')[0]
    assert text in base64(port, SIZE)["tesseract"].question.body


def test_contestants_have_servers_and_titles(port: int) -> None:
    asked = {**exchange("http_inline").asked(port), **base64(port, SIZE), **large_json(port, SIZE)}
    assert asked.keys() <= TITLES.keys()
    assert {one.server for one in asked.values()} <= SERVERS.keys()


def test_peers_stand_where_their_servers_look_for_them() -> None:
    for known in SERVERS.values():
        for value in known.environment.values():
            assert Path(value).is_file()
