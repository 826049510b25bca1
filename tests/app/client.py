"""A client of the application in this process: requests in, whole responses out, without sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from fastapi import FastAPI


class Client:
    """Sends requests to an application whose lifespan has begun, one after the other or many at a time."""

    def __init__(self, app: FastAPI, runner: asyncio.Runner) -> None:
        self.app = app
        self._runner = runner
        self._http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app, raise_app_exceptions=False), base_url="http://gradd"
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


@contextmanager
def client_of(app: FastAPI) -> Iterator[Client]:
    """Give a client of an application between its start and its stop."""
    with asyncio.Runner() as runner:
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        yield Client(app, runner)
        runner.run(lifespan.__aexit__(None, None, None))


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    """Give a body piece by piece, so that it is sent without a Content-Length."""
    for part in parts:
        yield part
