"""The size of a reply, and how long writing it takes, are known before anything runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from app.evaluation.evaluator import Call, Evaluator
from app.evaluation.operations import OPERATIONS
from app.http.services import services_of
from app.main import create_app
from app.routes.examples.inline import EXAMPLES
from app.settings import Settings
from app.wire.codec import CODECS, JSON, MSGPACK, Codec
from app.wire.json.reply import MEASURES
from app.wire.reply import Results, Size
from engine.graph.types import DTYPES
from tests.app.bodies import op, request, wanted
from tests.app.client import client_of

REAL = [name for name, dtype in DTYPES.items() if not dtype.is_complex]
SHAPES = [(), (0,), (1,), (7,), (3, 0), (5, 1), (2, 3, 4), (6, *[1] * 20), (1, 1, 300)]
LONGEST: dict[str, Any] = {
    "b": False,
    "i": lambda dtype: np.iinfo(dtype).min,
    "u": lambda dtype: np.iinfo(dtype).max,
    "f": lambda dtype: -dtype.type(np.finfo(dtype).tiny) * dtype.type(1.2345678901234567),
}


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("encoding", MEASURES)
@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_tensor_has_no_more_bytes_than_measured(
    codec: Codec, encoding: str, name: str, shape: tuple[int, ...]
) -> None:
    dtype = DTYPES[name]
    longest = LONGEST[dtype.numpy.kind]
    array = np.full(shape, longest(dtype.numpy) if callable(longest) else longest, dtype.numpy)
    most = codec.size(Results([(("outputs", "x"), shape, dtype)]), (), encoding).bytes
    written = len(codec.write({"x": array}, encoding))
    assert written <= most <= written + 150 + 16 * array.size


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name != "check"])
def test_replies_of_every_operation_are_within_what_is_measured(
    operation: str, codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[Size] = []
    size = Codec.size

    def noted(*given: Any) -> Size:
        sizes.append(size(*given))
        return sizes[-1]

    monkeypatch.setattr(Codec, "size", noted)
    for example in EXAMPLES[operation].values():
        answer = Evaluator(Settings()).answer(Call(operation, orjson.dumps(example["value"]), writes=codec))
        assert 0.2 * sizes[-1].bytes < len(answer.body) <= sizes[-1].bytes + 200


def expanded(size: list[int], **members: Any) -> bytes:
    """A request of some 120 bytes with a reply of any size."""
    graph = request({"x": 1.0}, op("expand", ["x"], "y", attributes={"size": size}), dag=False, **members)
    return orjson.dumps(graph)


@pytest.mark.parametrize("size", [[10**7], [10**7, 1, 1, 1], [10**8, 0], [10**5] + [1] * 31])
def test_a_short_request_with_a_long_reply_is_not_answered_on_the_event_loop(
    size: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """120 bytes that expand to 30 M numbers held the event loop for 2.4 s."""
    monkeypatch.setattr("app.evaluation.plans.Computation.members", None)  # nothing runs here
    services = services_of(create_app(Settings(max_reply_bytes=2**40)))
    call = Call("forward", expanded(size))
    assert services.dispatcher.at_once(call) is None
    assert services.dispatcher.at_once(call) is None


def test_a_reply_that_is_short_stays_on_the_event_loop() -> None:
    services = services_of(create_app())
    assert services.dispatcher.at_once(Call("forward", expanded([10_000]))) is not None
    assert services.dispatcher.at_once(Call("forward", expanded([40_000]))) is None
    assert services.dispatcher.at_once(Call("forward", expanded([40_000], encoding="base64"))) is not None
    assert services.dispatcher.at_once(Call("forward", expanded([40_000]), writes=MSGPACK)) is not None


@pytest.mark.parametrize(
    ("size", "codec", "encoding"),
    [
        ([30_000_000], JSON, "json"),
        ([2**28], JSON, "base64"),
        ([2**28], MSGPACK, "json"),
        ([2 * 10**8, 0], JSON, "json"),
        ([10_000_000, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], JSON, "json"),
    ],
)
def test_a_reply_over_the_limit_is_refused_before_anything_runs(
    size: list[int], codec: Codec, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.evaluation.plans.Computation.members", None)
    with client_of(create_app(Settings(concurrency=1))) as client:
        headers = {"Content-Type": "application/json", "Accept": codec.media_type}
        reply = client.post("/v1/forward", expanded(size, encoding=encoding), headers=headers)
    [error] = reply.json()["errors"]
    assert (reply.status_code, error["pointer"], error["code"]) == (422, "#", "reply_limit")
    assert "base64" in error["hint"]


def test_the_dag_and_what_is_explained_count() -> None:
    names = [f"{'n' * 100}{index}" for index in range(30)]
    ops = [op("exp", [before], name) for before, name in zip(["x", *names], names, strict=False)]
    body = orjson.dumps(request({"x": wanted(1.0)}, *ops, dag=True))
    short = Settings(max_reply_bytes=4000)
    for operation in ("forward", "explain"):
        with client_of(create_app(short)) as client:
            reply = client.post(f"/v1/{operation}", body, headers={"Content-Type": "application/json"})
            assert reply.json()["errors"][0]["code"] == "reply_limit"
