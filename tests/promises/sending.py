"""A client of raw sockets: sends the requests of `traffic` as bytes, many at a time, and can leave in the middle."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import orjson
import zstandard

from tests.promises.traffic import Message

Address = tuple[str, int]


class Reply(NamedTuple):
    """The status, the media type and the body of a reply; the body is not compressed."""

    status: int
    media_type: str
    body: bytes

    @property
    def is_refusal_of_load(self) -> bool:
        """Whether the reply is a problem document that says that the request may be sent again, or took too long."""
        if self.status not in {503, 504} or self.media_type != "application/problem+json":
            return False
        problem = orjson.loads(self.body)
        return bool(problem["status"] == self.status and problem["code"] and problem["errors"][0]["hint"])


class Connection:
    """A connection that stays open between requests, and is opened again after the server closes it."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, message: Message, request_id: str = "same") -> Reply:
        """Send a request and return its reply. Raises OSError or EOFError if there is none."""
        reader, writer = await self._open()
        try:
            writer.write(message.sent(request_id))
            head = await reader.readuntil(b"\r\n\r\n")
            line, *fields = head.decode("latin-1").split("\r\n")[:-2]
            headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
        except (OSError, EOFError):
            self.close()
            raise
        if headers.get("connection") == "close":
            self.close()
        return Reply(int(line.split()[1]), headers.get("content-type", ""), _decoded(headers, body))

    async def answer(self, message: Message) -> Reply:
        """Send a request until it is answered with something else than 503 and 504, as a client does; return that."""
        while (reply := await self.send(message)).is_refusal_of_load:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        return reply

    async def leave(self, message: Message, share: float, pause: float) -> None:
        """Send a share of a request, wait, and close the connection without reading an answer."""
        _, writer = await self._open()
        data = message.sent("gone")
        writer.write(data[: int(len(data) * share)])
        await asyncio.sleep(pause)
        self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None and self._streams[0].at_eof():
            self.close()
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address, limit=2**20)
        return self._streams


def _decoded(headers: dict[str, str], body: bytes) -> bytes:
    coding = headers.get("content-encoding", "")
    if coding == "gzip":
        return gzip.decompress(body)
    return zstandard.ZstdDecompressor().decompress(body) if coding == "zstd" else body


async def sequential(address: Address, messages: Iterable[Message]) -> list[Reply]:
    """Send requests one after the other."""
    connection = Connection(address)
    try:
        return [await connection.answer(message) for message in messages]
    finally:
        connection.close()


async def concurrent(address: Address, messages: Sequence[Message], connections: int) -> list[Reply]:
    """Send requests on several connections, each as soon as a connection is free; return the replies in their order."""
    replies: list[Reply | None] = [None] * len(messages)
    waiting = iter(enumerate(messages))

    async def client() -> None:
        connection = Connection(address)
        for index, message in waiting:
            replies[index] = await connection.answer(message)
        connection.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(client())
    return [reply for reply in replies if reply is not None]
