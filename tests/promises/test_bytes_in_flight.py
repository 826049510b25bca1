"""Bodies and replies in flight: a slot is for a complete body, and one limit holds for the bytes of all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import orjson
import pytest
import zstandard

from app.main import create_app
from app.settings import Settings
from app.workers.shared_memory import LARGE
from tests.app.bodies import echo, sum_of_exp
from tests.app.listening import Listening, listening

MIB = 2**20
HELD = 300
BODY = orjson.dumps(sum_of_exp(dag=False))
HEALTH = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def head(size: int, *fields: str, path: str = "/v1/forward") -> bytes:
    return "\r\n".join(
        [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {size}", *fields, "", ""]
    ).encode()


def of(client: int) -> str:
    return f"X-Forwarded-For: 10.0.0.{client}"


@pytest.fixture
def found() -> Iterator[Listening]:
    """An application with two slots that holds 4 MiB, and at most 2 MiB of one client's bodies as they arrive."""
    settings = Settings(
        concurrency=1,
        queue=1,
        max_bytes_in_flight=4 * MIB,
        max_client_bytes_in_flight=2 * MIB,
        trusted_proxies=["127.0.0.1"],
    )
    with listening(create_app(settings), shortcut=False) as made:
        yield made


class Client:
    """A connection of the application's own loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer

    async def reply(self) -> bytes:
        """Return the head and the body of the next reply."""
        text = await self._reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in text.split(b"\r\n")[1:] if line)
        return text + await self._reader.readexactly(int(fields[b"content-length"]))


@asynccontextmanager
async def connected(found: Listening, sent: bytes) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(*found.address)
    try:
        writer.write(sent)
        yield Client(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def until_taken(found: Listening, size: int) -> None:
    async with asyncio.timeout(60):
        while found.services.in_flight.taken != size:  # noqa: ASYNC110  # what it waits for has no event
            await asyncio.sleep(0.01)


async def status(found: Listening, sent: bytes) -> int:
    async with connected(found, sent) as client:
        return int((await client.reply()).split()[1])


def test_bodies_that_do_not_arrive_take_no_slot(found: Listening) -> None:
    async def hold() -> None:
        clients = [connected(found, head(100) + b"{") for _ in range(HELD)]
        for client in clients:
            await client.__aenter__()
        await until_taken(found, HELD * 100)
        assert found.services.slots.taken == 0
        assert await status(found, head(len(BODY)) + BODY) == 200
        for client in clients:
            await client.__aexit__(None, None, None)
        await until_taken(found, 0)

    found.run(hold())


@pytest.mark.parametrize("size", [MIB, LARGE])
def test_the_bodies_of_a_client_and_of_all_are_bounded(found: Listening, size: int) -> None:
    async def hold() -> None:
        clients = [
            connected(found, head(size, of(index // (2 * MIB // size))) + b"{") for index in range(4 * MIB // size)
        ]
        for index, client in enumerate(clients):
            await client.__aenter__()
            if (index + 1) * size == 2 * MIB:
                await until_taken(found, 2 * MIB)
                async with connected(found, head(size, of(0))) as refused:  # before a byte of the body
                    reply = await refused.reply()
                assert reply.startswith(b"HTTP/1.1 503 ")
                assert b"retry-after: 1" in reply
                assert b"10.0.0.0" in reply
        await until_taken(found, 4 * MIB)
        assert await status(found, head(size, of(9))) == 503
        assert await status(found, head(size, "Expect: 100-continue", of(9))) == 503
        assert await status(found, HEALTH) == 200
        assert await status(found, head(len(BODY), of(0)) + BODY) == 200
        for client in clients:
            await client.__aexit__(None, None, None)
        await until_taken(found, 0)
        assert await status(found, head(2 * MIB, of(0)) + BODY.ljust(2 * MIB)) == 200

    found.run(hold())


def test_a_body_of_unknown_length_counts_as_it_arrives(found: Listening) -> None:
    async def hold() -> None:
        fields = [b"POST /v1/forward HTTP/1.1", b"Host: localhost", b"Transfer-Encoding: chunked", b"", b""]
        large = connected(found, head(2 * MIB, of(0)))
        async with large, connected(found, head(MIB, of(1))), connected(found, b"\r\n".join(fields)) as client:
            await until_taken(found, 3 * MIB)
            chunk = b"%x\r\n%b\r\n" % (MIB // 4, bytes(MIB // 4))
            client.writer.write(chunk * 3)
            await until_taken(found, 3 * MIB + 3 * MIB // 4)
            client.writer.write(chunk * 2)
            assert (await client.reply()).startswith(b"HTTP/1.1 503 ")
        await until_taken(found, 0)

    found.run(hold())


def test_a_decompressed_body_counts(found: Listening) -> None:
    zeros = zstandard.ZstdCompressor().compress(bytes(3 * MIB // 2))
    sent = head(len(zeros), "Content-Encoding: zstd") + zeros

    async def hold() -> None:
        assert await status(found, sent) == 400
        async with connected(found, head(3 * MIB // 2, of(0))), connected(found, head(3 * MIB // 2, of(1))):
            await until_taken(found, 3 * MIB)
            assert await status(found, sent) == 503
        await until_taken(found, 0)
        assert await status(found, sent) == 400

    found.run(hold())


def test_a_reply_counts_until_it_is_sent(found: Listening) -> None:
    size = 2**18
    expand = {"op": "expand", "inputs": ["x", [size]], "output": "y"}
    asked = orjson.dumps({"graph": {"tensors": {"x": [1.5]}, "ops": [expand]}, "outputs": ["y"], "dag": False})
    call = head(len(asked)) + asked

    async def hold() -> None:
        assert await status(found, call) == 200
        async with connected(found, head(2 * MIB, of(0))), connected(found, head(3 * MIB // 2, of(1))):
            await until_taken(found, 7 * MIB // 2)
            assert await status(found, call) == 503
            assert await status(found, HEALTH) == 200
        await until_taken(found, 0)
        assert await status(found, call) == 200
        await until_taken(found, 0)

    found.run(hold())


def test_a_body_that_is_slower_than_the_rate_is_not_waited_for() -> None:
    settings = Settings(header_timeout_ms=100, min_body_rate=2**40, concurrency=1)
    with listening(create_app(settings), shortcut=False) as found:
        for size in (100, LARGE):
            assert found.exchange(head(size), b"{" * (size // 2)).startswith(b"HTTP/1.1 408 ")


def test_a_slow_body_that_keeps_the_rate_is_read() -> None:
    body = orjson.dumps(echo(1.5)).ljust(LARGE)
    settings = Settings(header_timeout_ms=200, min_body_rate=1024, concurrency=1)
    with listening(create_app(settings)) as found:
        for field in ("", "Connection: close\r\n"):
            sent = head(len(body), field.strip()) if field else head(len(body))
            pieces = [body[begin : begin + LARGE // 8] for begin in range(0, len(body), LARGE // 8)]
            reply = found.exchange(sent, *pieces, HEALTH, pause=0.1)
            assert reply.startswith(b"HTTP/1.1 200 ")
