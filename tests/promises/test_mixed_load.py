"""Two hundred requests of several kinds at the same time: each client gets its own answer."""

from typing import Any

import numpy as np

from app.main import create_app
from app.settings import Settings
from tests.app.bodies import op, request, wanted
from tests.app.client import client_of

COUNT = 200


def asked(index: int) -> dict[str, Any]:
    """Small ones, wide ones that go to a worker unread, and ones that are wrong."""
    width = (3, 20_000)[index % 5 == 0]
    ops = [op("mul", ["x", float(index)], "scaled"), op("sum", ["scaled"], "loss")]
    if index % 7 == 0:
        ops.append(op(f"unknown{index}", ["x"], "nothing"))
    return request({"x": wanted([float(index)] * width)}, *ops, dag=False)


def test_each_gets_its_own_answer() -> None:
    with client_of(create_app(Settings(concurrency=2))) as client:
        replies = client.together([("POST", "/v1/gradients", {"json": asked(index)}) for index in range(COUNT)])
    for index, reply in enumerate(replies):
        if index % 7 == 0:
            assert reply.status_code == 422
            assert any(f"unknown{index}'" in error["detail"] for error in reply.json()["errors"])
        else:
            found = reply.json()
            width = len(asked(index)["graph"]["tensors"]["x"]["data"])
            np.testing.assert_allclose(found["outputs"]["loss"]["data"], float(index) ** 2 * width)
            assert found["gradients"]["x"]["data"] == [float(index)] * width
