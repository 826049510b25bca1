"""gzip and zstd, in and out: what is inflated is bounded, what is malformed is refused, what is compressed says so."""

from __future__ import annotations

import asyncio
import gzip
import re
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
import zstandard
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.errors import BodyTooLarge
from app.http.compression import Compression
from app.http.content_coding import CHUNK, CODINGS
from app.main import create_app
from app.settings import Settings
from tests.app.bodies import echo, request
from tests.app.client import Client, chunks, client_of

LARGE = {"x": [0.25, 0.5] * 5_000}
"""Numbers that shrink well."""
LIMIT = 4_000_000


def zstd_stream(body: bytes, parameters: zstandard.ZstdCompressionParameters | None = None) -> bytes:
    """A frame that does not tell the size of its content."""
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return stream.compress(body) + stream.flush()


COMPRESS: dict[str, dict[str, Callable[[bytes], bytes]]] = {
    "gzip": {"at once": gzip.compress, "stored": lambda body: gzip.compress(body, 0)},
    "zstd": {
        "at once": zstandard.ZstdCompressor().compress,
        "streamed": zstd_stream,
        "with a checksum": zstandard.ZstdCompressor(write_checksum=True).compress,
        "hard": zstandard.ZstdCompressor(level=19).compress,
    },
}
WAYS = [(coding, way) for coding, ways in COMPRESS.items() for way in ways]


def post(client: Client, body: bytes, coding: str, **headers: str) -> httpx.Response:
    given = {"Content-Type": "application/json", "Content-Encoding": coding, **headers}
    return client.post("/v1/forward", body, headers=given)


@pytest.mark.parametrize(("coding", "way"), WAYS)
def test_what_was_compressed_is_read(client: Client, coding: str, way: str) -> None:
    body = orjson.dumps(echo(LARGE["x"]))
    reply = post(client, COMPRESS[coding][way](body), coding)
    assert reply.status_code == 200
    assert reply.json()["outputs"]["x"]["data"] == LARGE["x"]


@pytest.mark.parametrize(("coding", "way"), WAYS)
def test_parts_one_after_the_other_are_one_body(client: Client, coding: str, way: str) -> None:
    compress, body = COMPRESS[coding][way], orjson.dumps(echo([1, 2, 3]))
    reply = post(client, b"".join(compress(body[at : at + 20]) for at in range(0, len(body), 20)), coding)
    assert reply.status_code == 200


def test_a_body_may_come_in_pieces(client: Client) -> None:
    packed = gzip.compress(orjson.dumps(echo(LARGE["x"])))
    pieces = chunks(*(packed[at : at + 1000] for at in range(0, len(packed), 1000)))
    headers = {"Content-Encoding": "x-gzip"}
    assert client.request("POST", "/v1/forward", content=pieces, headers=headers).status_code == 200


@pytest.mark.parametrize(("coding", "way"), WAYS)
@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_every_size_is_inflated(coding: str, way: str, size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    assert CODINGS[coding].inflate(COMPRESS[coding][way](body[:size]), size) == body[:size]


GZIP, ZSTD = gzip.compress(b'{"graph": {}}'), zstandard.ZstdCompressor().compress(b'{"graph": {}}')
MALFORMED = {
    "nothing": (b"", b""),
    "something else": (b"{}", b"{}"),
    "the other one": (ZSTD, GZIP),
    "a header alone": (GZIP[:10], ZSTD[:5]),
    "cut off": (GZIP[:-1], ZSTD[:-1]),
    "cut off early": (GZIP[:-9], ZSTD[:-4]),
    "followed by something": (GZIP + b"{}", ZSTD + b"{}"),
    "followed by half of another": (GZIP + GZIP[:-1], ZSTD + ZSTD[:-1]),
    "a flipped bit": (GZIP[:12] + bytes([GZIP[12] ^ 64]) + GZIP[13:], ZSTD[:4] + bytes([ZSTD[4] ^ 1]) + ZSTD[5:]),
    "a wrong checksum": (
        GZIP[:-8] + bytes(4) + GZIP[-4:],
        zstandard.ZstdCompressor(write_checksum=True).compress(b"{}")[:-4] + bytes(4),
    ),
    "a window too large": (
        zlib.compress(b"{}"),
        zstd_stream(b"{}", zstandard.ZstdCompressionParameters(window_log=25)),
    ),
    "empty members without end": (gzip.compress(b"") * 20_000, b"\x28\xb5\x2f\xfd\x00\x00"),
}


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_malformed_is_refused(client: Client, name: str, coding: str) -> None:
    reply = post(client, MALFORMED[name][coding == "zstd"], coding)
    assert (reply.status_code, reply.headers["content-type"]) == (400, "application/problem+json")
    [error] = reply.json()["errors"]
    assert (error["pointer"], error["code"]) == ("#", "malformed_encoding")
    assert coding in error["hint"]


BOMBS: dict[str, dict[str, Callable[[int], bytes]]] = {
    "gzip": {
        "one member": lambda size: gzip.compress(bytes(size)),
        "many": lambda size: gzip.compress(b" " * 99) * 990,
    },
    "zstd": {
        "that tells its size": lambda size: zstandard.ZstdCompressor().compress(bytes(size)),
        "that tells nothing": lambda size: zstd_stream(bytes(size)),
        "many": lambda size: zstd_stream(bytes(size // 9)) * 9,
    },
}


@pytest.mark.parametrize(("coding", "bomb"), [(coding, bomb) for coding, bombs in BOMBS.items() for bomb in bombs])
def test_a_bomb_is_refused_before_it_takes_memory(coding: str, bomb: str) -> None:
    body = BOMBS[coding][bomb](40 * LIMIT)
    most = 50_000 if bomb == "many" else LIMIT
    tracemalloc.start()
    with pytest.raises(BodyTooLarge):
        CODINGS[coding].inflate(body, most)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.1 * most + 4 * CHUNK + 3 * len(body)


@pytest.mark.parametrize("coding", CODINGS)
def test_the_limit_is_that_of_the_inflated_body(coding: str) -> None:
    with client_of(create_app(Settings(max_body_bytes=10_000))) as small:
        compress = COMPRESS[coding]["at once"]
        assert post(small, compress(orjson.dumps(echo(1)).ljust(10_000)), coding).status_code == 200
        reply = post(small, compress(orjson.dumps(echo(1)).ljust(10_001)), coding)
        assert (reply.status_code, reply.json()["errors"][0]["pointer"]) == (413, "#")


@pytest.mark.parametrize("header", ["br", "deflate", "gzip, gzip", "zstd, gzip", "compress", "identity, gzip", "*"])
def test_other_codings_are_refused(client: Client, header: str) -> None:
    reply = post(client, b"{}", header)
    assert (reply.status_code, reply.json()["code"]) == (415, "unsupported_media_type")
    assert reply.headers["accept-encoding"] == "zstd, gzip"


ACCEPTED = {
    "": None,
    "identity": None,
    "gzip": "gzip",
    "x-gzip": "gzip",
    "GZip": "gzip",
    "zstd": "zstd",
    "gzip, zstd": "zstd",
    "gzip, deflate, br, zstd": "zstd",
    "gzip, zstd;q=0.5": "gzip",
    "gzip;q=0, zstd;q=0": None,
    "br": None,
    "*": "zstd",
    "zstd;q=0, *": "gzip",
    "gzip;q=0.5, identity;q=0.9": None,
    "gzip;q=0.5, identity;q=0.5": "gzip",
    "gzip;q=nonsense": None,
    "identity;q=0, gzip": "gzip",
    "*;q=0, gzip": "gzip",
}


@pytest.mark.parametrize(("header", "coding"), ACCEPTED.items())
def test_the_reply_is_compressed_as_the_client_likes(client: Client, header: str, coding: str | None) -> None:
    reply = client.post("/v1/forward", echo(LARGE["x"]), headers={"Accept-Encoding": header})
    assert reply.status_code == 200
    assert reply.headers.get("content-encoding") == coding
    assert reply.headers["vary"] == "Accept, Accept-Encoding"
    assert reply.json()["outputs"]["x"]["data"] == LARGE["x"]


@pytest.mark.parametrize("header", ["identity;q=0", "*;q=0", "br, *;q=0", "identity;q=0, gzip;q=0", "*;q=0, br"])
def test_who_accepts_nothing_is_told(client: Client, header: str) -> None:
    reply = client.post("/v1/forward", echo(1), headers={"Accept-Encoding": header})
    assert (reply.status_code, reply.json()["code"]) == (406, "not_acceptable")
    assert "identity" in reply.json()["errors"][0]["hint"]


def test_small_replies_are_sent_as_they_are_unless_the_client_insists(client: Client) -> None:
    for value in (1.0, [0.5] * 3_000):
        for header, coding in (("gzip", None), ("zstd", None), ("gzip, identity;q=0", "gzip")):
            reply = client.post("/v1/forward", echo(value), headers={"Accept-Encoding": header})
            found = reply.headers.get("content-encoding"), reply.json()["outputs"]["x"]["data"]
            assert found == (coding, value)


NOISE = np.random.default_rng(0).standard_normal(20_000).tolist()
SHAPES: dict[str, dict[str, Any]] = {
    "JSON": {},
    "base64": {"encoding": "base64"},
}


@pytest.mark.parametrize("header", ["gzip, deflate", "gzip, deflate, br, zstd", "zstd", "gzip"])
@pytest.mark.parametrize("name", SHAPES)
def test_numbers_are_not_compressed_for_clients_that_accept_it_by_default(
    client: Client, name: str, header: str
) -> None:
    reply = client.post("/v1/forward", echo(NOISE, **SHAPES[name]), headers={"Accept-Encoding": header})
    assert "content-encoding" not in reply.headers
    assert "compress" not in reply.headers["server-timing"]
    insisting = {"Accept-Encoding": f"{header}, identity;q=0"}
    insisted = client.post("/v1/forward", echo(NOISE, **SHAPES[name]), headers=insisting)
    assert insisted.headers["content-encoding"] in {"gzip", "zstd"}
    assert insisted.json()["outputs"] == reply.json()["outputs"]


@pytest.mark.parametrize("header", ["gzip", "zstd"])
def test_raw_numbers_are_not_compressed(client: Client, header: str) -> None:
    headers = {"Accept": "application/msgpack", "Accept-Encoding": header}
    assert "content-encoding" not in client.post("/v1/forward", echo(NOISE), headers=headers).headers


def test_numbers_behind_text_that_shrinks_are_seen(client: Client) -> None:
    tensors = {**{f"t{index}": 1.0 for index in range(300)}, "x": NOISE}
    asked = request(tensors, outputs=list(tensors))
    assert "content-encoding" not in client.post("/v1/forward", asked, headers={"Accept-Encoding": "zstd"}).headers


def test_long_replies_are_compressed_by_zstd_alone(client: Client) -> None:
    for header, coding in (("gzip", None), ("zstd", "zstd"), ("gzip, zstd", "zstd")):
        reply = client.post("/v1/forward", echo([0.5] * 100_000), headers={"Accept-Encoding": header})
        assert reply.headers.get("content-encoding") == coding


@pytest.mark.parametrize("size", [4_000, 60_000])
def test_the_time_of_compressing_is_told(client: Client, size: int) -> None:
    reply = client.post("/v1/forward", echo([0.5] * size), headers={"Accept-Encoding": "zstd"})
    assert re.search(r"\bcompress;dur=[\d.]+", reply.headers["server-timing"])


def test_descriptions_are_compressed(client: Client) -> None:
    for header in ("gzip", "zstd"):
        assert client.get("/openapi.json", headers={"Accept-Encoding": header}).headers["content-encoding"] == header


def test_large_replies_and_bodies_go_through_a_thread(client: Client) -> None:
    numbers = np.linspace(0, 1, 60_000).tolist()
    headers = {"Accept-Encoding": "zstd, identity;q=0"}
    reply = post(client, zstandard.ZstdCompressor().compress(orjson.dumps(echo(numbers))), "zstd", **headers)
    assert reply.headers["content-encoding"] == "zstd"
    assert reply.json()["outputs"]["x"]["data"] == numbers


@pytest.mark.parametrize("coding", CODINGS)
def test_compressing_ends_at_the_deadline(client: Client, coding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.http.content_coding._STEP", 2**12)
    compressed = CODINGS[coding].compressed

    def late(self: Any, body: bytes) -> Iterator[bytes]:
        for piece in compressed(body):
            yield piece
            time.sleep(0.2)

    monkeypatch.setattr("app.http.content_coding.Coding.compressed", late)
    headers = {"Accept-Encoding": f"{coding}, identity;q=0"}
    for numbers in (NOISE, NOISE * 10):  # computed on the event loop, and in a worker
        reply = client.post("/v1/forward", echo(numbers, timeout_ms=1500), headers=headers)
        assert (reply.status_code, reply.json()["code"]) == (504, "deadline_exceeded")


@pytest.mark.parametrize("size", [0, 1, 2**20 - 1, 2**20, 2**20 + 1, 2**21, 2**21 + 7])
def test_large_bodies_are_handed_to_the_connection_in_pieces(size: int) -> None:
    sent: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(bytes(size))(scope, receive, send)

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    asyncio.run(Compression(app, 10_000, 60)({"type": "http", "headers": []}, receive, send))
    start, *pieces = sent
    assert dict(start["headers"])[b"content-length"] == b"%d" % size
    assert b"".join(piece["body"] for piece in pieces) == bytes(size)
    assert max(len(piece["body"]) for piece in pieces) <= 2**20
    assert [piece.get("more_body", False) for piece in pieces] == [True] * (len(pieces) - 1) + [False]


async def _streams(scope: Scope, receive: Receive, send: Send) -> None:
    """An application whose replies come in two parts, with the request's body as they came."""
    body = await Request(scope, receive).body()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": body})


async def _tagged(scope: Scope, receive: Receive, send: Send) -> None:
    await Response(b"a" * 20_000, headers={"ETag": '"1"'})(scope, receive, send)


def test_streams_pass_and_tags_of_compressed_replies_are_weak(client: Client) -> None:
    async def ask(app: Any) -> httpx.Response:
        transport = httpx.ASGITransport(app=Compression(app, 10_000, 60))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            packed = gzip.compress(b"a" * 5000)
            return await http.post("/", content=packed, headers={"Content-Encoding": "gzip"})

    streamed = client._runner.run(ask(_streams))
    assert (streamed.content, "content-encoding" in streamed.headers) == (b"a" * 10_000, False)
    tagged = client._runner.run(ask(_tagged))
    assert (tagged.headers["etag"], tagged.headers["content-encoding"]) == ('W/"1"', "zstd")
