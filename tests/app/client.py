"""A client of the application in this process: requests in, whole responses out, without sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
from fastapi import FastAPI

from app.http.services import services_of


class Client:
    """Sends requests to an application whose lifespan has begun, one after the other or many at a time."""

    def __init__(self, app: FastAPI, runner: asyncio.Runner) -> None:
        self.app, self.services = app, services_of(app)
        self._runner = runner
        self._http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app, raise_app_exceptions=False), base_url="http://localhost"
        )

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self._runner.run(self._http.request(method, path, **options))

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """Post bytes as they are, anything else as JSON."""
        if isinstance(body, bytes):
            return self.request("POST", path, content=body, **options)
        return self.request("POST", path, json=body, **options)

    def together(self, requests: Iterable[tuple[str, str, dict[str, Any]]]) -> list[httpx.Response]:
        """Send requests at the same time."""

        async def send() -> list[httpx.Response]:
            return list(await asyncio.gather(*(self._http.request(m, p, **options) for m, p, options in requests)))

        return self._runner.run(send())

    def ended(self, requests: Iterable[tuple[str, str, str, dict[str, Any]]]) -> list[str]:
        """Send requests at the same time, each with a name, and return the names in the order in which they ended."""
        names: list[str] = []

        async def one(name: str, method: str, path: str, options: dict[str, Any]) -> None:
            reply = await self._http.request(method, path, **options)
            assert reply.status_code == 200, reply.text
            names.append(name)

        async def send() -> None:
            await asyncio.gather(*(one(*request) for request in requests))

        self._runner.run(send())
        return names

    def leaving(self, path: str, body: Any) -> None:
        """Post a request, and leave as soon as its body is read."""
        self.call(path, [{"type": "http.request", "body": json.dumps(body).encode()}, {"type": "http.disconnect"}])

    def leased(self, path: str, body: Any, *, leaving: bool = False) -> tuple[int, bytes]:
        """Post a request whose body was received into a segment, as large ones are; return the status and the reply."""
        text = json.dumps(body).encode()
        lease = self.services.segments.acquire(len(text))
        assert lease is not None
        lease.body[:] = text
        messages = [{"type": "http.request", "body": lease.body, "lease": lease}]
        return self.call(path, messages + [{"type": "http.disconnect"}] * leaving)

    def call(
        self, path: str, messages: list[dict[str, Any]], headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Post these messages to the application, and no more after them; return the status and the body."""
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return messages.pop(0) if messages else await asyncio.Future()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
        }
        self._runner.run(self.app(scope, receive, send))
        return sent[0]["status"], b"".join(bytes(message.pop("body")) for message in sent[1:])

    def until(self, condition: Callable[[], bool]) -> None:
        """Let the application's loop run until the condition holds; for what nobody asks it for."""

        async def wait() -> None:
            while not condition():  # noqa: ASYNC110  # what it waits for has no event
                await asyncio.sleep(0.01)

        self._runner.run(wait())


@contextmanager
def client_of(app: FastAPI) -> Iterator[Client]:
    """Give a client of an application between its start and its stop."""
    with asyncio.Runner() as runner:
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        try:
            yield Client(app, runner)
        finally:
            runner.run(lifespan.__aexit__(None, None, None))


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    """Give a body piece by piece, so that it is sent without a Content-Length."""
    for part in parts:
        yield part
