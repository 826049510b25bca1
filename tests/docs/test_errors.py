"""The codes that docs/endpoints.md lists are those that requests are answered with: each has one in the tests."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from app.errors import InvalidRequest
from app.evaluation.evaluator import Call, Evaluator
from app.settings import Settings
from tests.app import malformed, malformed_derivatives, refusals
from tests.docs.markdown import sections
from tests.serving import CHECKOUT

PAGE = CHECKOUT / "docs" / "endpoints.md"
TITLES = (
    "The call",
    "Members",
    "Tensors",
    "Graphs",
    "Arguments of ops",
    "Values that an op refuses while it runs",
    "Derivatives",
    "Limits",
    "Registered graphs",
)

ELSEWHERE = {
    (400, "malformed_encoding"): ("tests/app/http/test_compression.py", '"malformed_encoding"'),
    (400, "cross_origin"): ("tests/app/http/test_middleware.py", '400, "cross_origin"'),
    (400, "malformed_http"): ("tests/app/http/test_refusals.py", '400, "malformed_http"'),
    (400, "malformed_msgpack"): ("tests/app/wire/test_msgpack.py", '"malformed_msgpack"'),
    (401, "unauthenticated"): ("tests/app/access/test_keys.py", "401, b'\"unauthenticated\"'"),
    (403, "forbidden"): ("tests/app/access/test_keys.py", "403, b'\"forbidden\"'"),
    (403, "foreign_origin"): ("tests/app/access/test_gate.py", '403, "foreign_origin"'),
    (404, "not_found"): ("tests/app/http/test_endpoints.py", '404, "not_found"'),
    (405, "method_not_allowed"): ("tests/app/http/test_endpoints.py", '405, "method_not_allowed"'),
    (406, "not_acceptable"): ("tests/app/http/test_endpoints.py", '406, "not_acceptable"'),
    (408, "slow_headers"): ("tests/app/http/test_refusals.py", '408, "slow_headers"'),
    (408, "slow_body"): ("tests/app/http/test_middleware.py", '408, "slow_body"'),
    (413, "body_too_large"): ("tests/app/http/test_endpoints.py", '413, "body_too_large"'),
    (415, "unsupported_media_type"): ("tests/app/http/test_endpoints.py", '415, "unsupported_media_type"'),
    (421, "unknown_host"): ("tests/app/access/test_gate.py", '421, "unknown_host"'),
    (422, "dtype_mismatch"): ("tests/app/evaluation/test_called.py", '"dtype_mismatch"'),
    (422, "graph_bytes_limit"): ("tests/app/graphs/test_registration.py", '"graph_bytes_limit"'),
    (422, "missing_value"): ("tests/app/evaluation/test_called.py", '"missing_value"'),
    (422, "requires_grad_mismatch"): ("tests/app/evaluation/test_called.py", '"requires_grad_mismatch"'),
    (429, "quota_exceeded"): ("tests/app/access/test_quotas.py", "429, b'\"quota_exceeded\"'"),
    (429, "over_quota"): ("tests/app/graphs/test_graphs.py", '429, "over_quota"'),
    (431, "headers_too_large"): ("tests/app/http/test_refusals.py", '431, "headers_too_large"'),
    (400, "unknown_transfer_coding"): ("tests/promises/test_framing.py", '400, "unknown_transfer_coding"'),
    (503, "busy"): ("tests/app/http/test_middleware.py", '"busy"'),
    (503, "store_unavailable"): ("tests/app/graphs/test_graphs.py", '503, "store_unavailable"'),
    (504, "deadline_exceeded"): ("tests/app/evaluation/test_check.py", '504, "deadline_exceeded"'),
}
"""Codes that tests of their own produce: the file, and how the code stands there."""


def listed() -> list[tuple[int, str]]:
    """Return the statuses and codes that the page lists, in its order."""
    rows = [
        row
        for section in sections(PAGE)
        if section.title in TITLES
        for row in re.findall(r"^\| (\d+) \| ([^|]*) \|", section.text, re.MULTILINE)
    ]
    return [(int(status), code) for status, codes in rows for code in re.findall(r"`(\w+)`", codes)]


def refused(body: dict[str, Any], settings: dict[str, int]) -> list[str]:
    """Return the codes of the faults of a request for /v1/forward."""
    with pytest.raises(InvalidRequest) as raised:
        Evaluator(Settings(**settings)).answer(Call("forward", orjson.dumps(body)))  # type: ignore[arg-type]
    return [fault.code for fault in raised.value.faults]


@pytest.mark.parametrize("code", refusals.OPS)
def test_what_an_op_refuses(code: str) -> None:
    assert refused(refusals.OPS[code], {}) == [code]


@pytest.mark.parametrize("code", refusals.LIMITS)
def test_what_a_limit_refuses(code: str) -> None:
    assert refused(*refusals.LIMITS[code]) == [code]


@pytest.mark.parametrize("code", ELSEWHERE)
def test_what_another_test_is_answered_with(code: tuple[int, str]) -> None:
    file, text = ELSEWHERE[code]
    assert text in (CHECKOUT / file).read_text(encoding="utf-8")


def test_the_page_lists_each_code_once_and_no_other() -> None:
    cases = [*malformed.CASES, *(case for _, case in malformed_derivatives.CASES)]
    produced = {(case.status, case.code) for case in cases}
    produced |= {(422, code) for code in (*refusals.OPS, *refusals.LIMITS)} | set(ELSEWHERE)
    assert sorted(listed()) == sorted(produced)
