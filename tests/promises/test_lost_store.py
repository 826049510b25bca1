"""A store whose file is removed, replaced, damaged or read-only while it serves loses no graph in silence."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.graphs.store.store import Store
from app.main import create_app
from app.settings import Settings
from tests.app.bodies import sum_of_exp
from tests.app.client import Client, client_of


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "graphs.sqlite"


@pytest.fixture
def client(file: Path) -> Iterator[Client]:
    store = Store(Settings(store=file))
    store.check()
    store.close()
    with client_of(create_app(Settings(store=file, concurrency=1))) as client:
        yield client


def graph(number: int) -> dict[str, object]:
    body: dict[str, object] = {"graph": {"tensors": {"x": [float(number)]}, "ops": sum_of_exp()["graph"]["ops"]}}
    return body


def remove(file: Path) -> None:
    for path in file.parent.glob(f"{file.name}*"):
        path.unlink()


def remove_the_folder(file: Path) -> None:
    shutil.rmtree(file.parent)


def damage(file: Path) -> None:
    for path in file.parent.glob(f"{file.name}*"):
        os.truncate(path, 0)
        path.write_bytes(b"no database " * 10_000)


LOSSES: list[Callable[[Path], None]] = [remove, remove_the_folder, damage]


@pytest.mark.parametrize("loss", LOSSES)
def test_a_store_that_is_lost_is_told_and_nothing_is_registered(client: Client, file: Path, loss: object) -> None:
    assert client.post("/v1/graphs", graph(1)).status_code == 201
    assert client.get("/health/ready").status_code == 200
    assert "gradd_store_available 1.0" in client.get("/metrics").text
    loss(file)  # type: ignore[operator]
    for number in (2, 3):
        refused = client.post("/v1/graphs", graph(number))
        assert (refused.status_code, refused.json()["code"]) == (503, "store_unavailable")
    unready = client.get("/health/ready")
    assert (unready.status_code, unready.json()["code"]) == (503, "store_unavailable")
    assert "gradd_store_available 0.0" in client.get("/metrics").text
    assert client.get("/health/live").status_code == 200
    assert client.post("/v1/gradients", sum_of_exp()).status_code == 200


def test_a_store_that_is_put_back_serves_again(client: Client, file: Path) -> None:
    registered = client.post("/v1/graphs", graph(1)).json()["id"]
    aside = file.parent / "aside"
    aside.mkdir()
    for path in list(file.parent.glob(f"{file.name}*")):
        path.rename(aside / path.name)
    assert client.post("/v1/graphs", graph(2)).status_code == 503
    assert not file.exists()  # no new file takes its place
    for path in aside.iterdir():
        path.rename(file.parent / path.name)
    assert client.get("/health/ready").status_code == 200
    assert client.get(f"/v1/graphs/{registered}").status_code == 200
    assert client.post("/v1/graphs", graph(2)).status_code == 201


def test_a_store_that_is_replaced_is_opened_anew(client: Client, file: Path, tmp_path: Path) -> None:
    client.post("/v1/graphs", graph(1))
    other = Store(Settings(store=tmp_path / "other.sqlite"))
    other.check()
    other.close()
    remove(file)
    (tmp_path / "other.sqlite").rename(file)
    statuses = [client.post("/v1/graphs", graph(2)).status_code for _ in range(2)]
    assert statuses == [503, 201]
    assert Store(Settings(store=file)).usage().graphs == 1
