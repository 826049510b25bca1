"""The decoder of MessagePack bodies: it agrees with msgpack's own, or refuses with a problem document.

A body that JSON can hold too is answered alike in both media types.
"""

from __future__ import annotations

from typing import Any

import msgpack
import orjson

from app.errors import ProblemError
from app.evaluation.evaluator import Call, Evaluator
from app.routes.examples.inline import EXAMPLES
from app.schemas.requests import SECTIONS
from app.settings import Settings
from app.wire.codec import JSON, MSGPACK, Codec
from tests.app.malformed import CASES
from tests.fuzz.targets.documents import filled, refused, same

_RAW: dict[str, Any] = {"data": bytes(range(48)), "dtype": "float64", "shape": [2, 3]}


def _packed(body: bytes) -> list[bytes]:
    """Return a JSON body as MessagePack, or nothing if it is not JSON."""
    try:
        return [msgpack.packb(orjson.loads(body))]
    except (orjson.JSONDecodeError, ValueError):
        return []


SEEDS = [
    *(msgpack.packb(example["value"]) for examples in EXAMPLES.values() for example in examples.values()),
    *(packed for case in CASES if len(case.body) < 2000 for packed in _packed(case.body)),
    msgpack.packb({"graph": {"tensors": {"x": _RAW}, "ops": []}, "outputs": ["x"]}),
    msgpack.packb({"graph": {"tensors": {"x": [float("nan"), 1, -0.0]}, "ops": []}, "outputs": ["x"]}),
]
WORDS = (
    "\xa4data",
    "\xa5shape",
    "\xa5dtype",
    "\xa7tensors",
    "\xa3ops",
    "\xc4\x08",
    "\xdd",
    "\xdf",
    "\xcb\x7f\xf0",
    "\xc7\x00",
)

EVALUATOR = Evaluator(Settings(max_memory_bytes=2**22, max_reply_bytes=2**20, max_elements=2**16, timeout_ms=5000))


def check(data: bytes) -> None:
    """Read a body, compare it with msgpack's result, and answer it as a request for /v1/forward in both media types."""
    answer = answered(data, MSGPACK)
    try:
        document = MSGPACK.read(data, {"tensors": SECTIONS["tensors"]}, frozenset({"seed"}))
    except ProblemError as problem:
        refused(problem)
        return
    tree = msgpack.unpackb(data)
    assert same(filled(document), tree)
    text = as_json(tree)
    if text:
        assert answered(text, JSON) == answer


def as_json(tree: Any) -> bytes:
    """Return the body in JSON with the same values, or nothing if JSON has none."""
    try:
        text = orjson.dumps(tree)
    except orjson.JSONEncodeError:
        return b""
    return text if same(orjson.loads(text), tree) else b""


def answered(data: bytes, reads: Codec) -> bytes:
    """Return the reply to a request in JSON, or the problem document of its refusal."""
    try:
        return bytes(EVALUATOR.answer(Call("forward", data, reads)).body)
    except ProblemError as problem:
        return refused(problem)
