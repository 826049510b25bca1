"""The decoder of JSON bodies: it agrees with the standard library's, or refuses with a problem document.

Long lists and strings take another path through it. A request must be answered alike on both, so each body is answered
with a bound for "long" that is small and with one that is large.
"""

from __future__ import annotations

import json

import orjson

from app.errors import ProblemError
from app.evaluation.evaluator import Call, Evaluator
from app.routes.examples.inline import EXAMPLES
from app.schemas.requests import SECTIONS
from app.settings import Settings
from app.wire.codec import JSON
from app.wire.json import long_values
from tests.app.malformed import CASES
from tests.fuzz.targets.documents import filled, refused, same

SEEDS = [
    *(orjson.dumps(example["value"]) for examples in EXAMPLES.values() for example in examples.values()),
    *(case.body for case in CASES if len(case.body) < 2000),
    b'{"graph":{"tensors":{"x":{"data":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","dtype":"int8","shape":[24]}},"ops":[]}}',
    b'{"graph":{"tensors":{"x":[[0.5,-1e3],[2,-0],[1E+2,"NaN"]]},"ops":[]},"outputs":["x"],"encoding":"base64"}',
]
WORDS = (
    *(
        "true",
        "null",
        '":',
        '{"',
        '"}',
        "e+308",
        "1e400",
        "-0",
        "18446744073709551616",
        '"NaN"',
        "[]",
        "[[",
        "]]",
        ", ",
    ),
    *('"graph"', '"tensors"', '"data":', '"shape":', '"dtype":', '"ops"', '"outputs"', "\\u003a", "\\ud800", "=="),
)
SMALL, LARGE = 24, 2**40

EVALUATOR = Evaluator(Settings(max_memory_bytes=2**22, max_reply_bytes=2**20, max_elements=2**16, timeout_ms=5000))


def check(data: bytes) -> None:
    """Read a body, compare it with the standard library's result, and answer it as a request for /v1/forward."""
    sections = {"tensors": SECTIONS["tensors"]}
    try:
        document = JSON.read(data, sections, frozenset({"seed"}))
    except ProblemError as problem:
        refused(problem)
    else:
        assert same(filled(document.whole()), json.loads(data.decode()))
    assert answered(data, SMALL) == answered(data, LARGE)


def answered(data: bytes, long: int) -> bytes:
    """Return the reply to a request, or the problem document of its refusal."""
    long_values.LONG_LIST = long_values.LONG_STRING = long
    try:
        return bytes(EVALUATOR.answer(Call("forward", data)).body)
    except ProblemError as problem:
        return refused(problem)
