"""Which host names and origins are let in, on both ways of answering a call."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from app.access.gate import Gate
from app.errors import ForeignOrigin, UnknownHost
from app.main import create_app
from app.settings import Settings
from tests.app.bodies import sum_of_exp
from tests.app.listening import Listening, listening

LOOPBACK = [
    "localhost",
    "testserver",
    "test:8000",
    "LocalHost:1",
    "localhost.:8000",
    "127.0.0.1",
    "127.0.0.1:8000",
    "127.1.2.3:8000",
    "[::1]",
    "[::1]:8000",
    "gradd.localhost:8000",
]
ELSEWHERE = [
    "10.0.0.7:8000",
    "[fd00::7]:8000",
    "gradd:8000",
    "my_service",
    "gradd.default.svc",
    "gradd.default.svc.cluster.local:8000",
    "laptop.local",
    "gradd.internal",
    f"{socket.gethostname()}:8000",
]
"""Hosts that a server has which listens on every address."""
FOREIGN = [
    "evil.example",
    "evil.example:8000",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "evil.svc.example",
    "user@127.0.0.1.example",
    "127.0.0.1:8000:1",
    "127.0.0.1 evil",
    "[::1",
    "::1",
    "",
    "é.example",
    "a" * 5000 + ".example",
]


def is_known(name: str, **settings: Any) -> bool:
    try:
        Gate(Settings(**settings)).check([name], "", "")
    except UnknownHost:
        return False
    return True


@pytest.mark.parametrize("listens", ["127.0.0.1", "::1", "localhost", "127.0.0.2"])
def test_on_the_loopback_its_own_names_alone_are_known(listens: str) -> None:
    assert {host: is_known(host, host=listens) for host in LOOPBACK} == dict.fromkeys(LOOPBACK, True)
    unknown = [*ELSEWHERE, *FOREIGN]
    assert {host: is_known(host, host=listens) for host in unknown} == dict.fromkeys(unknown, False)


@pytest.mark.parametrize("listens", ["0.0.0.0", "::", "192.0.2.1"])
def test_elsewhere_addresses_and_names_of_no_public_domain_are_known(listens: str) -> None:
    known = [*LOOPBACK, *ELSEWHERE]
    assert {host: is_known(host, host=listens) for host in known} == dict.fromkeys(known, True)
    assert {host: is_known(host, host=listens) for host in FOREIGN} == dict.fromkeys(FOREIGN, False)


def test_a_name_to_listen_on_is_known() -> None:
    assert is_known("gradd.example.org:8000", host="gradd.example.org")
    assert not is_known("www.example.org", host="gradd.example.org")


@pytest.mark.parametrize(
    ("given", "host", "known"),
    [
        ("gradd.example.org", "gradd.example.org:443", True),
        ("GRADD.example.org.", "gradd.EXAMPLE.org", True),
        ("gradd.example.org", "a.gradd.example.org", False),
        ("*.example.org", "a.example.org", True),
        ("*.example.org", "a.b.example.org:80", True),
        ("*.example.org", "example.org", False),
        ("*.example.org", "evilexample.org", False),
        ("[2001:db8::1]", "[2001:db8::1]:80", True),
        ("*", "evil.example", True),
        ("gradd.example.org", "127.0.0.1:8000", True),
    ],
)
def test_the_operator_allows_more(given: str, host: str, known: bool) -> None:
    assert is_known(host, allowed_hosts=[given]) == known


@pytest.mark.parametrize("given", ["https://gradd.example.org", "gradd.example.org:8000", "", "a b", "*x", "a/b"])
def test_what_is_no_host_is_refused_at_the_start(given: str) -> None:
    with pytest.raises(ValidationError, match="allowed_hosts"):
        Settings(allowed_hosts=[given])


@pytest.mark.parametrize(
    ("origin", "site", "cors", "own"),
    [
        ("", "", [], True),
        ("http://127.0.0.1:8000", "", [], True),
        ("https://127.0.0.1:8000", "", [], True),
        ("http://127.0.0.1:3000", "same-site", [], False),
        ("http://localhost:8000", "", [], False),
        ("http://evil.example", "cross-site", [], False),
        ("null", "", [], False),
        ("null", "same-origin", [], True),
        ("https://gradd.example.org", "same-origin", [], True),
        ("file://127.0.0.1:8000", "", [], False),
        ("http://127.0.0.1:8000.evil.example", "", [], False),
        ("https://example.org", "cross-site", ["https://example.org"], True),
        ("http://example.org", "cross-site", ["https://example.org"], False),
        ("http://evil.example", "cross-site", ["*"], True),
    ],
)
def test_pages_of_other_origins_are_not_let_in(origin: str, site: str, cors: list[str], own: bool) -> None:
    gate = Gate(Settings(cors_origins=cors))
    if own:
        gate.check(["127.0.0.1:8000"], origin, site)
    else:
        with pytest.raises(ForeignOrigin):
            gate.check(["127.0.0.1:8000"], origin, site)


def test_a_client_may_leave_the_headers_out_and_each_host_is_checked() -> None:
    gate = Gate(Settings())
    gate.check([], "", "")
    with pytest.raises(UnknownHost):
        gate.check(["localhost", "evil.example"], "", "")


@pytest.fixture(scope="module", params=[True, False], ids=["shortcut", "general"])
def served(request: pytest.FixtureRequest) -> Iterator[Listening]:
    with listening(create_app(Settings(concurrency=2)), shortcut=request.param) as found:
        yield found


def sent(*headers: str, path: str = "/v1/forward") -> bytes:
    body = json.dumps(sum_of_exp(dag=False)).encode()
    head = [f"POST {path} HTTP/1.1", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


LEAVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        (["Host: localhost:8000"], 200, ""),
        (["Host: localhost:8000", "Origin: http://localhost:8000"], 200, ""),
        (["Host: evil.example"], 421, "unknown_host"),
        (["Host: evil.example", "Origin: http://evil.example", "Sec-Fetch-Site: same-origin"], 421, "unknown_host"),
        (["Host: localhost", "Host: evil.example"], 400, "malformed_http"),
        (["Host: localhost", "Origin: http://evil.example", "Content-Type: text/plain"], 403, "foreign_origin"),
        (["Host: localhost", "Origin: null"], 403, "foreign_origin"),
    ],
)
def test_both_ways_refuse_the_same(served: Listening, headers: list[str], status: int, code: str) -> None:
    for _ in range(2):
        reply = served.exchange(sent(*headers), LEAVE)
        head, _, rest = reply.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status), reply
        if code:
            found = json.JSONDecoder().raw_decode(rest.decode())[0]
            assert (found["status"], found["code"]) == (status, code)


def test_refusals_are_answered_for_every_path_and_counted(served: Listening) -> None:
    for path in ("/v1/limits", "/health/live", "/docs", "/nope"):
        request = f"GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".encode()
        assert served.exchange(request).startswith(b"HTTP/1.1 421 ")
    assert b'gradd_refused_total{code="unknown_host"}' in served.services.metrics.exposition()
