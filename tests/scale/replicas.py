"""Replicas of the service behind nginx, with registered graphs in PostgreSQL, as processes of this machine.

nginx runs with the configuration of deploy/. Only the addresses are replaced: its own, the replicas', and that of a
DNS server, which processes of one machine do not need.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.serving import CHECKOUT, PATIENCE_S, free_port, process, wait_until_live

CONFIGURATION = CHECKOUT / "deploy" / "nginx.conf"


def nginx() -> str | None:
    """Return the path of nginx, which Debian keeps off the path of users."""
    return shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


def configuration(port: int, replicas: list[int], folder: Path, silence_s: int = 40) -> str:
    """Return the configuration of deploy/ with other addresses, and with `folder` for /tmp.

    `silence_s` is the time after which a replica that says nothing has failed.
    """
    servers = "\n".join(f"server 127.0.0.1:{replica} max_fails=0;" for replica in replicas)
    replaced = (
        (r"listen 8080 ", f"listen 127.0.0.1:{port} "),
        (r"server gradd:8000 resolve max_fails=0;", servers),
        (r"resolver 127\.0\.0\.11 .*;", ""),
        (r"proxy_read_timeout 40s;", f"proxy_read_timeout {silence_s}s;"),
        (r"access_log /dev/stdout json;", "access_log /tmp/access.log json;"),
    )
    text = CONFIGURATION.read_text(encoding="utf-8")
    for pattern, other in replaced:
        text, times = re.subn(pattern, other, text)
        assert times == 1, pattern
    return text.replace(" /tmp/", f" {folder}/")


@dataclass
class Replica:
    """One server process. `process` is None while it does not run."""

    port: int
    folder: Path
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start it and do not wait; the process that it has then, or a later one, ends afterwards."""
        try:
            self.start(wait=False)
            yield
        finally:
            if self.process is not None:
                self.kill()

    def start(self, *, wait: bool = True) -> None:
        command = [sys.executable, "-m", "app", "serve", "--port", str(self.port)]
        with (self.folder / f"{self.port}-{self.starts}.log").open("wb") as output:
            started = subprocess.Popen(
                command,
                cwd=CHECKOUT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.process = started
        self.starts += 1
        if wait:
            self.wait()

    def wait(self) -> None:
        """Return when it answers."""
        started = self.process
        assert started is not None
        wait_until_live(self.url, seconds=PATIENCE_S, alive=lambda: started.poll() is None)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the server's process, which keeps its connections, accepts more and answers nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the server with SIGKILL. Its workers notice and end themselves."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self) -> int:
        """Stop the server with SIGTERM and return its status."""
        assert self.process is not None
        self.process.terminate()
        status = self.process.wait(timeout=PATIENCE_S)
        self.process = None
        return status


@dataclass
class Deployment:
    """nginx at `url`, and the replicas behind it."""

    url: str
    replicas: list[Replica]
    folder: Path

    @property
    def access_log(self) -> Path:
        return self.folder / "access.log"


@contextmanager
def balancer(replicas: list[int], folder: Path, silence_s: int = 40) -> Iterator[str]:
    """Run nginx before the replicas of these ports; gives the root of its addresses."""
    port = free_port()
    path = folder / "nginx.conf"
    path.write_text(configuration(port, replicas, folder, silence_s), encoding="utf-8")
    program = nginx()
    assert program is not None, "nginx is not installed"
    # As root, nginx would give its workers another user, who cannot read the folder.
    user = "user root;" if os.getuid() == 0 else ""
    command = [program, "-c", str(path), "-e", "stderr", "-g", f"daemon off; {user}"]
    with process(command, cwd=folder, log=folder / "nginx.log") as running:
        while not _listens(port):
            assert running.poll() is None, (folder / "nginx.log").read_text()
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def deployment(count: int, store: str, folder: Path, silence_s: int = 40) -> Iterator[Deployment]:
    """Run replicas with one store behind nginx."""
    shared = {**os.environ, "GRADD_STORE": store, "GRADD_CONCURRENCY": "2"}
    replicas = [Replica(free_port(), folder, shared) for _ in range(count)]
    with ExitStack() as stack:
        for replica in replicas:
            stack.enter_context(replica.running())
        for replica in replicas:
            replica.wait()
        url = stack.enter_context(balancer([replica.port for replica in replicas], folder, silence_s))
        yield Deployment(url, replicas, folder)
