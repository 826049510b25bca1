"""The server process: uvicorn with the service's protocol and limits. `app.__main__` runs it."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from app.http.fast_path.connection import connection
from app.http.fast_path.shortcut import FastPath
from app.http.protocol import BoundedProtocol, bounded_protocol
from app.http.services import services_of
from app.workers import collector


class CannotListen(Exception):
    """The server cannot listen on the address or the port. The message is for the operator."""


class Server(uvicorn.Server):
    """A uvicorn server that calls `listening` with its URL, and sets the service not ready on a stop signal."""

    def __init__(self, app: FastAPI, listening: Callable[[str], None]) -> None:
        super().__init__(config_of(app))
        services = services_of(app)
        self._readiness, self._watchdog, self._listening = services.readiness, services.watchdog, listening
        self._published_port, self._metrics_port = services.settings.published_port, services.settings.metrics_port
        self._general_path = bounded_protocol(services)
        self._metrics_listeners: list[socket.socket] = []

    def serve_until_stopped(self) -> None:
        """Listen, and serve until a signal. Raises CannotListen before it starts."""
        listeners = _listeners(self.config.host, self.config.port)
        if self._metrics_port is not None:
            self._metrics_listeners = _listeners(self.config.host, self._metrics_port)
        self.run(listeners)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and call `listening` with the URL."""
        await super().startup(sockets)
        collector.configure()
        if self.started:
            await self._serve_metrics()
            self._watchdog.start()
            self._listening(_url(self.servers[0].sockets[0], self._published_port))

    async def _serve_metrics(self) -> None:
        """Listen on the port of the metrics, without the fast path: the middleware looks at the port."""

        def protocol() -> BoundedProtocol:
            state = self.lifespan.state
            return self._general_path(config=self.config, server_state=self.server_state, app_state=state)

        loop = asyncio.get_running_loop()
        self.servers += [await loop.create_server(protocol, sock=found) for found in self._metrics_listeners]

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Stop: refuse new requests, finish the current ones, and exit with status 0. A second Ctrl-C does not wait."""
        self._readiness.is_ready = False
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def config_of(app: FastAPI) -> uvicorn.Config:
    """Return the uvicorn configuration of the application."""
    services = services_of(app)
    settings = services.settings
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=connection(bounded_protocol(services), FastPath(services)),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=settings.idle_timeout_s,
        timeout_graceful_shutdown=settings.stop_timeout_s,
    )


def _listeners(host: str, port: int) -> list[socket.socket]:
    """Return a socket bound to the port for each address of the host. Raises CannotListen."""
    listeners: list[socket.socket] = []
    try:
        for family, address in _addresses(host):
            chosen = listeners[0].getsockname()[1] if listeners else port  # 0: one free port for all addresses
            listeners.append(socket.create_server((address, chosen), family=family, backlog=_BACKLOG))
    except OSError as error:
        if listeners and error.errno in _ABSENT:
            return listeners
        for listener in listeners:
            listener.close()
        raise CannotListen(_refusal(host, port, error)) from None
    return listeners


def _addresses(host: str) -> list[tuple[int, str]]:
    """Return the families and addresses of a host, each once, IPv4 before IPv6. Raises OSError."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return sorted({(int(family), str(address[0])) for family, _, _, _, address in found})


_ABSENT = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
"""Errors on a machine without IPv6 if a host name has an IPv6 address."""

_BACKLOG = 2048
"""Length of the queue of connections before accept: uvicorn's default."""


def _refusal(host: str, port: int, error: OSError) -> str:
    """Return a message for the operator: the port, the reason, and a command with another port."""
    if error.errno == errno.EADDRINUSE:
        other = port + 1000 if port < 64000 else port - 1000
        again = f"`make run PORT={other}` or `gradd serve --port {other}`"
        return f"Port {port} of {host} is taken by another program. Take another port: {again}."
    reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
    return f"Port {port} of {host} cannot be listened on: {reason}."


def _url(listener: socket.socket, published: int | None) -> str:
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{shown}:{published or port}"
