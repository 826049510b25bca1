"""A request that offers another protocol is answered over HTTP/1.1, as if it offered none.

Java's HttpClient offers HTTP/2 in every first request of a connection. RFC 9110, section 7.8: a server may ignore it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import orjson
import pytest

from app.main import create_app
from app.settings import Settings
from tests.app.bodies import sum_of_exp
from tests.app.listening import Listening, listening

OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
LAST = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
BODY = orjson.dumps(sum_of_exp(dag=False))
LARGE = BODY.ljust(2**19)


def post(body: bytes, fields: bytes = b"") -> bytes:
    head = b"POST /v1/gradients HTTP/1.1\r\nHost: localhost\r\n%bContent-Length: %d\r\n\r\n" % (fields, len(body))
    return head + body


def chunked(body: bytes, fields: bytes = b"") -> bytes:
    head = b"POST /v1/gradients HTTP/1.1\r\nHost: localhost\r\n%bTransfer-Encoding: chunked\r\n\r\n" % fields
    half = len(body) // 2
    return head + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:half], body[half:], b""))


def cut(request: bytes, *places: int) -> list[bytes]:
    """Return the request in pieces that end at these places."""
    return [request[begin:end] for begin, end in zip((0, *places), (*places, len(request)), strict=True)]


def cases(fields: bytes) -> dict[str, list[bytes]]:
    whole = post(BODY, fields)
    head = len(whole) - len(BODY)
    return {
        "whole": [whole],
        "the body later": cut(whole, head),
        "the body in pieces": cut(whole, head, head + 5, head + 9),
        "a part of the body with the head": cut(whole, head + 7),
        "in the middle of the head": cut(whole, 30, head // 2, head - 2),
        "a large body": cut(post(LARGE, fields), head),
        "a large body, begun": cut(post(LARGE, fields), head + 2000),
        "chunked": [chunked(BODY, fields)],
        "chunked, in pieces": cut(chunked(BODY, fields), head // 2, head + 20, head + 30),
        "two on a connection": [whole, whole],
        "two at once": [whole + whole],
        "after one that offers nothing": [post(BODY), whole, post(BODY)],
        "before a large body": [whole, post(LARGE)],
        "without a body": [b"GET /v1/limits HTTP/1.1\r\nHost: localhost\r\n%b\r\n" % fields, whole],
        "many at once": [b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n%b\r\n" % fields * 1500],
        "nothing but a query": [b"GET /v1/limits?a HTTP/1.1\r\nHost: localhost\r\n%b\r\n" % fields],
        "a path that does not exist": [whole.replace(b"gradients", b"gradient", 1), whole],
        "no JSON": [post(b"{" * 40, fields), whole],
        "an expectation": cut(post(BODY, fields + b"Expect: 100-continue\r\n"), head + 22),
    }


@pytest.fixture(scope="module", params=[True, False], ids=["fast path", "general path"])
def found(request: pytest.FixtureRequest) -> Iterator[Listening]:
    with listening(create_app(Settings(concurrency=100)), shortcut=request.param) as made:
        yield made


def masked(reply: bytes) -> bytes:
    """Return a reply without times and ids."""
    reply = re.sub(rb"dur=[\d.]+", b"dur=", reply)
    reply = re.sub(rb"desc=(hit|miss)", b"desc=", reply)
    reply = re.sub(rb"server-timing: parse[^\r]*", b"server-timing:", reply)
    return re.sub(rb"(x-request-id: |\"request_id\":\")[0-9a-f]{32}", rb"\1", reply)


@pytest.mark.parametrize("name", cases(OFFER))
def test_it_is_answered_as_if_it_offered_nothing(found: Listening, name: str) -> None:
    offering, other = (masked(found.exchange(*cases(fields)[name], LAST)) for fields in (OFFER, b""))
    assert offering == other
    assert other.startswith(b"HTTP/1.1 ")


def test_its_body_is_read(found: Listening) -> None:
    for name, parts in cases(OFFER).items():
        if name not in {"without a body", "many at once", "nothing but a query"}:
            assert b'"gradients"' in found.exchange(*parts, LAST), name


@pytest.mark.parametrize("offer", [b"websocket", b"TLS/1.0, HTTP/1.1", b"h2c, websocket", b"nothing"])
def test_so_is_any_other_protocol(found: Listening, offer: bytes) -> None:
    reply = found.exchange(post(BODY, b"Connection: Upgrade\r\nUpgrade: %b\r\n" % offer), LAST)
    assert reply.count(b"HTTP/1.1 200 OK") == 2
    assert b'"gradients"' in reply


def test_its_connection_ends_if_it_says_so(found: Listening) -> None:
    reply = found.exchange(post(BODY, OFFER.replace(b"Upgrade, ", b"close, Upgrade, ", 1)), LAST)
    assert reply.count(b"HTTP/1.1 200 OK") == reply.count(b"connection: close") == 1
    assert b'"gradients"' in reply
