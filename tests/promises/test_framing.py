"""Heads and bodies that HTTP does not allow are refused before anything reads them, as problems.

Where a proxy and a server find different ends of a request, one client's bytes become another client's request. RFC
9112, section 11.2; the cases are those of the literature on request smuggling.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from itertools import product

import orjson
import pytest

from app.main import create_app
from app.settings import Settings
from tests.app.bodies import sum_of_exp
from tests.app.http.test_refusals import counted, parted
from tests.app.listening import Listening, listening

BODY = orjson.dumps(sum_of_exp(dag=False))
LAST = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
MOST = 2048


def post(*fields: bytes, body: bytes = BODY, line: bytes = b"POST /v1/forward HTTP/1.1", host: bool = True) -> bytes:
    return b"\r\n".join([line, *([b"Host: localhost"] if host else []), *fields, b"", body])


def coded(*codings: bytes, body: bytes = CHUNKS) -> bytes:
    return post(*[b"Transfer-Encoding: " + coding for coding in codings], body=body)


LENGTH = b"Content-Length: %d" % len(BODY)
MALFORMED: dict[str, bytes] = {
    "no host": post(LENGTH, host=False),
    "no host, nothing else": b"GET /health/live HTTP/1.1\r\n\r\n",
    "two hosts": post(LENGTH, b"Host: localhost"),
    "two lengths": post(LENGTH, LENGTH),
    "two lengths that differ": post(LENGTH, b"Content-Length: 1"),
    "a list of lengths": post(b"Content-Length: %d, %d" % (len(BODY), len(BODY))),
    "a length with a sign": post(b"Content-Length: +5"),
    "a negative length": post(b"Content-Length: -5"),
    "a length in base 16": post(b"Content-Length: 0x5"),
    "a length without digits": post(b"Content-Length: "),
    "a length beyond 64 bits": post(b"Content-Length: 99999999999999999999"),
    "a length and chunks": post(LENGTH, b"Transfer-Encoding: chunked", body=CHUNKS),
    "chunks and a length": post(b"Transfer-Encoding: chunked", LENGTH, body=CHUNKS),
    "a length and another coding": post(LENGTH, b"Transfer-Encoding: identity"),
    "identity": coded(b"identity", body=BODY),
    "gzip": coded(b"gzip"),
    "chunked twice": coded(b"chunked, chunked"),
    "chunked, then identity": coded(b"chunked, identity"),
    "chunked, then identity in another header": coded(b"chunked", b"identity"),
    "chunked with a parameter": coded(b"chunked;a=b"),
    "almost chunked": coded(b"xchunked"),
    "chunked after a tab and a vertical tab": coded(b"\x0bchunked"),
    "no coding": coded(b""),
    "chunks of an older client": coded(b"chunked").replace(b"HTTP/1.1", b"HTTP/1.0", 1),
    "white space before a colon": post(b"Content-Length : %d" % len(BODY)),
    "a header in two lines": post(LENGTH, b"A: b\r\n c"),
    "a header after a space": post(b" " + LENGTH),
    "a line that ends in LF": post(b"A: b\nTransfer-Encoding: chunked", body=CHUNKS),
    "a line that ends in CR": post(b"A: b\rTransfer-Encoding: chunked", body=CHUNKS),
    "a NUL in a header": post(LENGTH, b"A: \x00"),
    "a name that is not a token": post(LENGTH, b"A[]: b"),
    "a method that is not known": post(LENGTH, line=b"FETCH /v1/forward HTTP/1.1"),
    "a method in lower case": post(LENGTH, line=b"post /v1/forward HTTP/1.1"),
    "no version": b"GET /health/live\r\n\r\n",
    "version 0.9": post(LENGTH, line=b"POST /v1/forward HTTP/0.9"),
    "version 1.2": post(LENGTH, line=b"POST /v1/forward HTTP/1.2"),
    "version 2": post(LENGTH, line=b"POST /v1/forward HTTP/2.0"),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a target with a space": post(LENGTH, line=b"POST /v1/ forward HTTP/1.1"),
    "a target that is not ASCII": post(LENGTH, line=b"POST /\xff HTTP/1.1"),
    "a chunk size that is no number": coded(b"chunked", body=b"g\r\n"),
    "a negative chunk size": coded(b"chunked", body=b"-5\r\nabcde\r\n"),
    "a chunk size with a prefix": coded(b"chunked", body=b"0x5\r\nabcde\r\n"),
    "a chunk size beyond 64 bits": coded(b"chunked", body=b"1" + b"0" * 16 + b"\r\n"),
    "a chunk size line that ends in LF": coded(b"chunked", body=b"5\nabcde\r\n0\r\n\r\n"),
    "an extension that ends in LF": coded(b"chunked", body=b"5;\nabcde\r\n0\r\n\r\n"),
    "a chunk longer than its size": coded(b"chunked", body=b"1\r\nab\r\n0\r\n\r\n"),
    "a trailer that is no header": coded(b"chunked", body=b"1\r\n1\r\n0\r\nA b\r\n\r\n"),
}
UNKNOWN: dict[str, bytes] = {
    "gzip, then chunked": coded(b"gzip, chunked"),
    "gzip, then chunked in another header": coded(b"gzip", b"chunked"),
    "identity, then chunked": coded(b"identity, chunked"),
}
LONG: dict[str, bytes] = {
    "a long extension": coded(b"chunked", body=b"5;a=" + b"x" * 2 * MOST),
    "long extensions": coded(b"chunked", body=b"1;a=%b\r\n1\r\n" % (b"x" * 99) * 99 + b"0\r\n\r\n"),
    "a long trailer": coded(b"chunked", body=b"1\r\n1\r\n0\r\nA: " + b"x" * 2 * MOST),
    "many trailers": coded(b"chunked", body=b"1\r\n1\r\n0\r\n" + b"A: b\r\n" * MOST),
    "a chunk size of many zeros": coded(b"chunked", body=b"0" * 2 * MOST + b"5"),
}
CASES = {
    **{name: (sent, 400, "malformed_http") for name, sent in MALFORMED.items()},
    **{name: (sent, 400, "unknown_transfer_coding") for name, sent in UNKNOWN.items()},
    **{name: (sent, 431, "headers_too_large") for name, sent in LONG.items()},
}


@pytest.fixture(scope="module", params=[True, False], ids=["fast path", "general path"])
def found(request: pytest.FixtureRequest) -> Iterator[Listening]:
    settings = Settings(concurrency=1, max_header_bytes=MOST, header_timeout_ms=2000)
    with listening(create_app(settings), shortcut=request.param) as made:
        yield made


def refused(reply: bytes, status: int, code: str) -> str:
    """Check that a reply is one problem, and return its id."""
    found_status, headers, problem = parted(reply)
    assert (found_status, problem["status"], problem["code"]) == (status, status, code)
    assert headers["content-type"] == "application/problem+json"
    assert headers["connection"] == "close"
    assert headers["x-request-id"] == problem["request_id"]
    [error] = problem["errors"]
    assert error["detail"]
    assert error["hint"]
    return str(problem["request_id"])


@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_and_what_follows_is_not_read(
    found: Listening, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sent, status, code = CASES[case]
    before = counted(found, code)
    parts = [sent[: MOST * 3 // 2], sent[MOST * 3 // 2 :]] if case in LONG else [sent + LAST]
    request_id = refused(found.exchange(*parts, LAST), status, code)
    assert counted(found, code) == before + 1
    found.services.access.flush()
    lines = [orjson.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    [line] = [line for line in lines if line.get("event") == "request"]
    assert (line["request_id"], line["status"], line["code"]) == (request_id, status, code)


@pytest.mark.parametrize("case", ["two lengths", "identity", "gzip, then chunked", "a chunk longer than its size"])
def test_so_it_is_in_pieces_and_after_other_requests(found: Listening, case: str) -> None:
    sent, status, code = CASES[case]
    first = post(LENGTH)
    half = len(sent) // 2
    for parts in ([sent[:half], sent[half:]], [first, sent], [first + sent[:half], sent[half:]], [first + sent]):
        *answers, last = replies(found.exchange(*parts, LAST))
        assert [answer[:12] for answer in answers] == [b"HTTP/1.1 200"] * (first in b"".join(parts))
        refused(last, status, code)


def replies(received: bytes) -> list[bytes]:
    """Return the replies of a connection, one by one."""
    return re.split(rb"(?=HTTP/1\.1 \d{3} [\w ]+\r\n)", received)[1:]


def test_the_id_of_the_client_is_kept(found: Listening) -> None:
    wrong = post(b"X-Request-ID: mine", LENGTH, LENGTH)
    assert refused(found.exchange(wrong), 400, "malformed_http") == "mine"
    _, last = replies(found.exchange(post(b"X-Request-ID: mine", LENGTH) + b"FETCH"))
    assert refused(last, 400, "malformed_http") != "mine"


ALLOWED: dict[str, bytes] = {
    "a length": post(LENGTH),
    "a length with white space": post(b"Content-Length: \t %d \t" % len(BODY)),
    "a length with zeros": post(b"Content-Length: 000%d" % len(BODY)),
    "chunks": coded(b"chunked"),
    "chunks in capitals": coded(b"Chunked"),
    "chunks of one byte": coded(b"chunked", body=b"".join(b"1\r\n%c\r\n" % byte for byte in BODY * 9) + b"0\r\n\r\n"),
    "short extensions": coded(b"chunked", body=b'%x;a;b="c d"\r\n%b\r\n0;e\r\n\r\n' % (len(BODY), BODY)),
    "trailers": coded(b"chunked", body=CHUNKS[:-2] + b"Content-Type: text/html\r\nX-Request-ID: trailer\r\n\r\n"),
    "trailers accepted": post(LENGTH, b"TE: trailers, gzip"),
    "an older client without a host": post(LENGTH, line=b"POST /v1/forward HTTP/1.0", host=False),
    "a target with a host": post(LENGTH, line=b"POST http://localhost/v1/forward HTTP/1.1"),
}


@pytest.mark.parametrize("case", ALLOWED)
def test_what_is_allowed_is_read(found: Listening, case: str) -> None:
    reply = found.exchange(ALLOWED[case], LAST)
    assert reply.startswith(b"HTTP/1.1 400" if case == "chunks of one byte" else b"HTTP/1.1 200 ")
    assert b"malformed_http" not in reply
    assert b"x-request-id: trailer" not in reply


def test_a_request_is_answered_before_what_is_wrong_with_the_next_one(
    found: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = found.services.dispatcher.answer

    async def late(*arguments: object) -> object:
        await asyncio.sleep(0.2)
        return await answer(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(found.services.dispatcher, "answer", late)
    monkeypatch.setattr(found.services.dispatcher, "at_once", lambda call: None)
    for bad, cut in product((b"FETCH / HTTP/1.1\r\n\r\n", post(LENGTH, LENGTH)), (False, True)):
        parts = [post(LENGTH), bad] if cut else [post(LENGTH) + bad]
        assert [reply[9:12] for reply in replies(found.exchange(*parts))] == [b"200", b"400"]
