"""Servers in separate processes on free loopback ports: gradd in its own environment, peers in this environment."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.service.client import RequestFailed

ROOT = Path(__file__).parent.parent.parent
START_SECONDS = 60


@dataclass(frozen=True)
class ServerProcess:
    """A command with a `{port}` placeholder, and environment variables in addition to those of this process."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


def _uvicorn(application: str) -> ServerProcess:
    options = (
        "--port",
        "{port}",
        "--no-access-log",
        "--log-level",
        "warning",
        "--loop",
        "uvloop",
        "--http",
        "httptools",
    )
    return ServerProcess((sys.executable, "-m", "uvicorn", application, *options))


SERVERS = {
    "gradd": ServerProcess((str(ROOT / ".venv/bin/python"), "-m", "app", "serve", "--port", "{port}")),
    "route": _uvicorn("benchmarks.service.peers.route:app"),
    "torch_server": _uvicorn("benchmarks.service.peers.torch_server:app"),
    "tesseract": ServerProcess(
        (str(Path(sys.executable).parent / "tesseract-runtime"), "serve", "--host", "127.0.0.1", "--port", "{port}"),
        {"TESSERACT_API_PATH": str(Path(__file__).parent / "peers/tesseract/tesseract_api.py")},
    ),
}


@contextlib.contextmanager
def running(server: ServerProcess, **environment: str) -> Iterator[int]:
    """Run a server, give its port when it listens, and end it and all of its child processes."""
    port = _free_port()
    command = [word.format(port=port) for word in server.command]
    with tempfile.TemporaryDirectory() as folder, Path(folder, "log").open("wb") as log:
        known = {**os.environ, **server.environment, **environment, "TESSERACT_OUTPUT_PATH": folder}
        process = subprocess.Popen(
            command, cwd=ROOT, env=known, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        try:
            _wait(process, port, Path(folder, "log"))
            yield port
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until a server listens on the port. Raises RequestFailed with the end of the server's log."""
    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RequestFailed(f"a server did not start: {log.read_text(encoding='utf-8')[-300:]}")
