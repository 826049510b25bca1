"""Checks of a request's head that the parser leaves out. They decide where the body ends.

A proxy and a server that disagree about the end of a body read different requests from one connection ("request
smuggling"). Sources: RFC 9112, sections 2.3, 3.2, 6.1 and 6.3.
"""

from __future__ import annotations

from collections.abc import Iterable

from app.errors import MalformedHttp, UnknownCoding

VERSIONS = {"1.0", "1.1"}


def check(version: str, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Check the version, the hosts and the transfer codings of a request. Raises MalformedHttp, UnknownCoding.

    The parser has refused a Content-Length that is repeated or beside a Transfer-Encoding.
    """
    hosts = 0
    codings: list[bytes] = []
    for name, value in headers:
        if name == b"host":
            hosts += 1
        elif name == b"transfer-encoding":
            codings.append(value)
    if version not in VERSIONS:
        raise MalformedHttp(f"HTTP/{version} is not spoken here.", hint="Send HTTP/1.1.")
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        raise MalformedHttp("A request has one Host header.", hint="Send one Host, the name of the server.")
    if codings:
        _check_codings(version, codings)


def _check_codings(version: str, codings: list[bytes]) -> None:
    if version == "1.0":
        raise MalformedHttp("HTTP/1.0 has no Transfer-Encoding.", hint="Send HTTP/1.1, or a Content-Length.")
    names = [name.strip(b" \t") for name in b",".join(codings).lower().split(b",")]
    if names[-1] != b"chunked":
        raise MalformedHttp("The last transfer coding is not chunked.", hint=_HINT)
    if names != [b"chunked"]:
        given = b", ".join(codings).decode("latin-1")[:200]
        raise UnknownCoding(f"`Transfer-Encoding: {given}` is not read here.", hint=_HINT)


_HINT = "Send `Transfer-Encoding: chunked` or a Content-Length; Content-Encoding is for compressed bodies."
