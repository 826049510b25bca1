"""The application behind a socket of this process, for tests that send bytes rather than requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from fastapi import FastAPI
from uvicorn.server import ServerState

from app.http.fast_path.connection import Connection
from app.http.fast_path.shortcut import FastPath
from app.http.server import config_of
from app.http.services import services_of


class Listening:
    """An application that listens. `taken` has a status for each call that its shortcut answered."""

    def __init__(self, app: FastAPI, runner: asyncio.Runner) -> None:
        self.app, self.taken = app, list[int]()
        self.protocol: Callable[[], Connection]
        self._runner = runner
        self._server: asyncio.Server
        self.services = services_of(app)

    def start(self, *, shortcut: bool) -> None:
        config = config_of(self.app)
        config.load()
        short: FastPath = config.http_protocol_class.shortcut  # type: ignore[attr-defined]
        answer = short.answer

        def noted(*arguments: Any) -> Any:
            answered = answer(*arguments)
            if answered is not None:
                self.taken.append(answered[0])
            return answered

        short.answer = noted  # type: ignore[assignment, method-assign]
        if not shortcut:
            short.call = lambda data: None  # type: ignore[method-assign]
        state = ServerState()
        state.default_headers = [(b"date", b"today")]

        def protocol() -> Connection:
            made: Connection = config.http_protocol_class(config=config, server_state=state, app_state={})  # type: ignore[assignment, call-arg]
            return made

        self.protocol = protocol

        async def listen() -> asyncio.Server:
            return await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)

        self._server = self._runner.run(listen())

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    def stop(self) -> None:
        self._server.close()

    def exchange(self, *parts: bytes, pause: float = 0.03) -> bytes:
        """Send parts one after the other on one connection; return what is answered until the server closes it."""
        return self.exchanges([parts], pause=pause)[0]

    def exchanges(self, exchanges: Iterable[Sequence[bytes]], pause: float = 0.03) -> list[bytes]:
        """Do the same on several connections at once."""

        async def together() -> list[bytes]:
            return list(await asyncio.gather(*(self._exchange(parts, pause) for parts in exchanges)))

        return self._runner.run(together())

    async def _exchange(self, parts: Sequence[bytes], pause: float) -> bytes:
        reader, writer = await asyncio.open_connection(*self.address)
        received = bytearray()

        async def read() -> None:
            with suppress(ConnectionError):
                while data := await reader.read(65536):
                    received.extend(data)

        reading = asyncio.ensure_future(read())
        for part in parts:
            writer.write(part)
            await asyncio.sleep(pause)
        await reading
        writer.close()
        return bytes(received)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something on the loop that the application runs on."""
        self._runner.run(work)

    def leaving(self, *parts: bytes, pause: float = 0.03) -> None:
        """Send parts, and close the connection without waiting for an answer."""

        async def leave() -> None:
            _, writer = await asyncio.open_connection(*self.address)
            for part in parts:
                writer.write(part)
            await writer.drain()
            writer.close()
            await asyncio.sleep(pause)

        self._runner.run(leave())


@contextmanager
def listening(app: FastAPI, *, shortcut: bool = True) -> Iterator[Listening]:
    """Give an application that listens, between its start and its stop; without its shortcut, if wanted."""
    with asyncio.Runner() as runner:
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        found = Listening(app, runner)
        found.start(shortcut=shortcut)
        try:
            yield found
        finally:
            found.stop()
            runner.run(lifespan.__aexit__(None, None, None))
