"""Every endpoint beside its description: schemathesis makes requests of the schemas, valid ones and invalid ones.

Each reply must be described: its status, its media type and its schema. An error is a problem document, and a 5xx is a
503 or a 504. CASES is the number of requests, over all endpoints and ways of making them.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any

import httpx
import msgpack
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from app.main import create_app
from app.routes.examples.inline import EXAMPLES
from app.routes.examples.registered import CALLS_OF_LAYER, GRAPHS, REGISTERED_ID
from tests.fuzz.mutation import mutated
from tests.serving import PATIENCE_S, server

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(7200)]

CASES = int(os.environ.get("CASES", "10000"))

load_all_checks()
DESCRIBED = CHECKS.get_by_names(["status_code_conformance", "content_type_conformance", "response_schema_conformance"])


@schemathesis.serializer("application/msgpack")
def packed(_: Any, value: Any) -> bytes:
    """Return the body as MessagePack, or as bytes of another kind where a member cannot be packed."""
    if isinstance(value, bytes):
        return value
    try:
        body: bytes = msgpack.packb(value)
    except (OverflowError, TypeError, UnicodeEncodeError, ValueError):
        return repr(value).encode(errors="replace")
    return body


SCHEMA = schemathesis.openapi.from_dict(create_app().openapi())
OPERATIONS = {operation.label: operation for found in SCHEMA.get_all_operations() if (operation := found.ok())}
WAYS = [
    (label, mode)
    for label, operation in OPERATIONS.items()
    for mode in GenerationMode
    if mode.is_positive or operation.method == "post"  # every text is a valid parameter of a path
]
EXAMPLES_OF = {
    **{f"POST /v1/{name}": examples for name, examples in EXAMPLES.items()},
    **{f"POST /v1/graphs/{{id}}/{name}": examples for name, examples in CALLS_OF_LAYER.items()},
    "POST /v1/graphs": GRAPHS,
}
_CONSTANT = [label for label, _ in WAYS if OPERATIONS[label].method == "get" and "{" not in label]
MOST = -(-CASES // (len(WAYS) - len(_CONSTANT) + len(EXAMPLES_OF)))
"""Requests for each endpoint in each way, but for those that have only one."""

given_many = settings(
    max_examples=MOST,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)


class Target:
    """A server. `sent` counts the requests by status."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.http = requests.Session()
        self.http.trust_env = False
        self.sent: dict[int, int] = {}

    def check(self, case: Case) -> None:
        """Send a request and check the reply."""
        reply = case.call(base_url=self.base_url, session=self.http, timeout=PATIENCE_S)
        status = reply.status_code
        self.sent[status] = self.sent.get(status, 0) + 1
        assert status < 500 or status in {503, 504}, reply.text
        case.validate_response(reply, checks=DESCRIBED)
        if status >= 400:
            check_problem(reply)


def check_problem(reply: Any) -> None:
    """Assert that a reply is a problem document. Source: RFC 9457."""
    assert reply.headers["content-type"] == ["application/problem+json"]
    problem = reply.json()
    assert problem["status"] == reply.status_code
    for fault in (problem, *problem["errors"]):
        assert fault["code"]
        assert fault["detail"]
    assert all(error["hint"] for error in problem["errors"])
    assert all(error["pointer"].startswith("#") for error in problem["errors"])


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with server(tmp_path_factory.mktemp("fuzz") / "serve.log") as url:
        target = Target(url)
        yield target
    print(f"\n{sum(target.sent.values())} requests: {dict(sorted(target.sent.items()))}")  # noqa: T201


@pytest.fixture(autouse=True)
def registered(target: Target) -> None:
    """Register the graph that the calls of registered graphs are for."""
    reply = httpx.post(f"{target.base_url}/v1/graphs", json=GRAPHS["layer"]["value"], trust_env=False)
    assert reply.status_code in {200, 201}


@pytest.mark.parametrize(("label", "mode"), WAYS, ids=lambda value: getattr(value, "value", value))
def test_a_reply_is_described(target: Target, label: str, mode: GenerationMode) -> None:
    operation = OPERATIONS[label]
    fixed = {"path_parameters": {"id": REGISTERED_ID}} if "{id}/" in operation.path else {}

    @given_many
    @given(operation.as_strategy(mode, **fixed))
    def check(case: Case) -> None:
        target.check(case)

    check()


@pytest.mark.parametrize("label", EXAMPLES_OF)
def test_the_reply_to_a_mutated_example_is_described(target: Target, label: str) -> None:
    operation = OPERATIONS[label]
    bodies = [example["value"] for example in EXAMPLES_OF[label].values()]
    fixed = {"path_parameters": {"id": REGISTERED_ID}} if "{id}/" in operation.path else {}

    @given_many
    @given(st.integers(0, 2**64), st.sampled_from(["application/json", "application/msgpack"]))
    def check(seed: int, media_type: str) -> None:
        rng = random.Random(seed)
        target.check(operation.Case(body=mutated(rng, rng.choice(bodies)), media_type=media_type, **fixed))

    check()


def test_as_many_requests_were_sent(target: Target) -> None:
    assert sum(target.sent.values()) >= CASES
