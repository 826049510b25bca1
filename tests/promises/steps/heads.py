"""Requests with large heads: long URLs, queries and headers, and many headers, to each kind of resource."""

from __future__ import annotations

from collections.abc import Iterator

from tests.promises.steps.seeds import Candidate

LENGTH = 60_000
"""Bytes of a head, below the server's limit on headers."""

HEADERS = (
    "Accept",
    "Accept-Encoding",
    "Authorization",
    "Content-Encoding",
    "Content-Type",
    "Cookie",
    "Expect",
    "Forwarded",
    "Host",
    "If-None-Match",
    "Origin",
    "Sec-Fetch-Site",
    "TE",
    "Trailer",
    "Traceparent",
    "Tracestate",
    "Upgrade",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Request-Id",
    "X-Unknown",
)

VALUES = (
    "a",
    "a,",
    "a, ",
    "a;",
    "a;q=0.5, ",
    "a/b;c=d;q=0.9, ",
    "*/*;q=0.1,",
    "text/html;",
    '"a", ',
    'W/"a",',
    '"',
    "\\",
    "gzip;q=0,",
    "gzip, ",
    "a=b,",
    "a=b; ",
    "1",
    "0",
    "00-",
    "127.0.0.1, ",
    "[::1], ",
    "for=1.1.1.1, ",
    "http://a.",
    ".",
    "-",
    ":",
    "%41",
    " ",
    "\t",
    "é",
)

PATHS = ("/", "/v1/", "/v1/ops/", "/v1/graphs/", "/v1/gradients?", "/v1/limits?a=", "/docs/", "/health/")
PIECES = ("a", "/", "a/", "%41", "%2F", "%", "..", "../", "&a=b", "é", ".", "//", "0", "sha256-")


def heads(registered: str) -> Iterator[Candidate]:
    """Yield the requests. `registered` is the id of a registered graph."""
    resources = (("GET", "/v1/limits"), ("GET", f"/v1/graphs/{registered}"), ("POST", "/v1/gradients"))
    for method, path in resources:
        body = {"graph": {"tensors": {"x": 1.0}, "ops": []}} if method == "POST" else None
        for name in HEADERS:
            for value in VALUES:
                text = (value * (LENGTH // len(value)))[:LENGTH]
                yield Candidate(f"{name}: {value!r}", method, path, body, headers={name: text})
        for size in (1, 8, 100):
            count = LENGTH // (size + 10)
            many = {f"{'x' * size}{number}": "1" for number in range(count)}
            yield Candidate(f"{count} headers", method, path, body, headers=many)
    for path in PATHS:
        for piece in PIECES:
            url = (path + piece * (LENGTH // len(piece)))[:LENGTH]
            for method in ("GET", "POST", "DELETE", "OPTIONS"):
                yield Candidate(f"URL {path}{piece!r}", method, url)
