"""The reader of request heads on the fast path: a head that it accepts is the same to h11, another parser.

A head that two readers understand differently is how requests are smuggled past a proxy.
"""

from __future__ import annotations

import h11

from app.http.fast_path import head

_LINES = (
    "content-type: application/json",
    "accept-encoding: gzip, deflate",
    "x-request-id: 7",
    "transfer-encoding: chunked",
    "content-length: 12",
    "expect: 100-continue",
    "connection: close",
    "upgrade: h2c",
)
SEEDS = [
    *(f"POST /v1/forward HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n{line}\r\n\r\n".encode() for line in _LINES),
    b"POST /v1/graphs/sha256-0/gradients?a=b HTTP/1.1\r\nHost:x\r\nContent-Length:\t7 \r\n\r\n",
    b"POST http://x/v1/forward HTTP/1.1\r\nhost: x\r\ncontent-length: 007\r\n\r\n",
    b"GET /health/live HTTP/1.0\r\n\r\n",
]
WORDS = (
    *(
        "\r\n",
        "\r\n\r\n",
        "\n",
        "HTTP/1.1",
        "HTTP/1.0",
        "POST ",
        "\x0b",
        "\x00",
        ": ",
        " :",
        "\r\n ",
        "%2e",
        "//",
        "#",
        "?",
    ),
    *(
        "content-length: ",
        "transfer-encoding: ",
        "chunked",
        "identity",
        "connection: ",
        "upgrade",
        "host: ",
        "+1",
        "0x",
    ),
)
MOST_BODY = 2**12
"""The longest body that follows a head here."""


def check(data: bytes) -> None:
    """Read a head, and compare it with h11's result."""
    found = head.read(data)
    if found is None:
        return
    assert data.endswith(head.END)
    assert found.length > 0
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=2**20)
    connection.receive_data(data)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:
        # h11 refuses some heads that are not ambiguous: another reader refuses them too, or means the same.
        return
    assert isinstance(event, h11.Request), event
    assert event.method.decode() == found.method
    assert event.http_version == b"1.1"
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers]
    assert dict(headers) == {name: value.rstrip(" \t") for name, value in found.headers.items()}
    assert len(headers) == len(found.headers)
    assert "transfer-encoding" not in found.headers
    assert int(dict(headers)["content-length"]) == found.length
    follows = connection.next_event()
    assert follows is h11.NEED_DATA, follows
    if found.length > MOST_BODY:
        return
    connection.receive_data(b"x" * found.length)
    body = b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += bytes(event.data)
    assert len(body) == found.length
    assert isinstance(event, h11.EndOfMessage)
