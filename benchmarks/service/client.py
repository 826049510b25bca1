"""Clients of the benchmarks: sequential requests on one kept-alive connection, or wrk on several connections."""

from __future__ import annotations

import contextlib
import http.client
import re
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import zstandard

CONNECTIONS = 8
NO_WRK = "wrk is missing: apt install wrk"


DEFAULT_HEADERS = {
    "Accept": "*/*",
    "Accept-Encoding": "gzip, deflate",
    "Connection": "keep-alive",
    "User-Agent": "python-httpx/0.28.1",
}
"""The default of httpx; with brotli and zstandard installed, `br` and `zstd` too."""


class RequestFailed(Exception):
    """A request had no successful reply."""


@dataclass(frozen=True)
class HttpRequest:
    """A request: a path and a body, with the body's media type and other headers."""

    path: str
    body: bytes
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def sent(self) -> dict[str, str]:
        """The headers of the request: the clients' default headers, the media type and the request's own headers."""
        return {**DEFAULT_HEADERS, "Content-Type": self.media_type, **self.headers}


@contextlib.contextmanager
def sender(port: int, request: HttpRequest) -> Iterator[Callable[[], bytes | memoryview]]:
    """A context with a function that sends the request and returns the reply's body, valid until the next call.

    The function raises RequestFailed if there is no reply with a status of 2xx. It reads bodies into a buffer that is
    allocated once: for 100 MB, new pages would take 40 ms of each call.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    buffer = bytearray()

    def send() -> bytes | memoryview:
        nonlocal buffer
        try:
            connection.request("POST", request.path, request.body, request.sent)
            reply = connection.getresponse()
            if len(buffer) < (reply.length or 0):
                buffer = bytearray(reply.length or 0)
            body = _DECODED[reply.getheader("Content-Encoding", "identity")](_body(reply, buffer))
        except (OSError, http.client.HTTPException) as error:
            raise RequestFailed(f"{request.path} was not answered: {error!r}") from error
        if reply.status // 100 != 2:
            raise RequestFailed(f"not available: the answer was {reply.status} {reply.reason}")
        return body

    with contextlib.closing(connection):
        yield send


_DECODED: Mapping[str, Callable[[bytes | memoryview], bytes | memoryview]] = {
    "identity": lambda body: body,
    "gzip": lambda body: zlib.decompress(body, zlib.MAX_WBITS | 16),
    "zstd": lambda body: zstandard.ZstdDecompressor().decompress(body),
}
"""Decompression functions by content coding. Decompression is part of the client's time."""


def _body(reply: http.client.HTTPResponse, buffer: bytearray) -> bytes | memoryview:
    """Return the body, in `buffer` if its size is known. Raises IncompleteRead."""
    if reply.length is None:
        return reply.read()
    body = memoryview(buffer)[: reply.length]
    position = 0
    while position < len(body):
        count = reply.readinto(body[position:])
        if not count:
            raise http.client.IncompleteRead(bytes(body[:position]), len(body) - position)
        position += count
    return body


def rate(port: int, request: HttpRequest, seconds: int) -> float:
    """Return wrk's requests per second on several connections. Raises RequestFailed if a request was not answered."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise RequestFailed(NO_WRK)
    with tempfile.NamedTemporaryFile() as body:
        body.write(request.body)
        body.flush()
        options = ("-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(Path(__file__).parent / "post.lua"))
        headers = [f"{name}: {value}" for name, value in request.sent.items()]
        command = [wrk, *options, f"http://127.0.0.1:{port}{request.path}", "--", body.name, *headers]
        printed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60 + seconds).stdout
    failed = re.search(r"Non-2xx.*|Socket errors.*", printed)
    if failed:
        raise RequestFailed(failed[0])
    found = re.search(r"Requests/sec:\s*([\d.]+)", printed)
    if found is None:
        raise RequestFailed(f"wrk printed no rate: {printed[-200:]!r}")
    return float(found[1])
