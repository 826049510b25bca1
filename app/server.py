"""The service as a process: uvicorn with this service's bounds, which says how to call it once it really listens."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from app import collector
from app.http.fast_path.connection import connection
from app.http.fast_path.shortcut import Shortcut
from app.protocol import bounded_protocol
from app.routes.examples import TUTORIAL
from app.services import services_of


class Server(uvicorn.Server):
    """A uvicorn server that calls `listening` with its URL, and marks the app as not ready when it is told to stop."""

    def __init__(self, app: FastAPI, listening: Callable[[str], None]) -> None:
        super().__init__(config_of(app))
        self._readiness, self._listening = services_of(app).readiness, listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then tell where."""
        await super().startup(sockets)
        collector.configure()
        if self.started:
            self._listening(_url(self.servers[0].sockets[0]))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Stop: finish what is in flight, take nothing new, and end with status 0. A second Ctrl-C does not wait."""
        self._readiness.is_ready = False
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def config_of(app: FastAPI) -> uvicorn.Config:
    """Return the configuration with which uvicorn serves the application."""
    services = services_of(app)
    settings = services.settings
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=connection(bounded_protocol(services), Shortcut(services)),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=settings.idle_timeout_s,
        timeout_graceful_shutdown=settings.stop_timeout_s,
    )


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{shown}:{port}"


def curl_line(url: str) -> str:
    """Return a command that posts the tutorial, to be pasted into a shell."""
    body = json.dumps(TUTORIAL, separators=(",", ":"))
    return f"curl {url}/v1/gradients -H 'content-type: application/json' -d '{body}'"
