"""A PostgreSQL server for tests: a cluster in a folder of its own, which only this machine reaches and which forgets
everything.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine

_USER = "gradd"


class Cluster:
    """A running server. Each `store` is a schema of its own."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries, self._folder = binaries, folder
        self._stores = 0

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://{_USER}@/postgres?host={self._folder}"

    def store(self) -> str:
        """Return the URL of a new, empty schema."""
        self._stores += 1
        name = f"store_{self._stores}"
        self.execute(f"CREATE SCHEMA {name}")
        return f"{self.url}&options=-csearch_path%3D{name}"

    def execute(self, statement: str) -> None:
        engine = create_engine(self.url)
        with engine.begin() as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()

    def start(self) -> None:
        options = f"-k {self._folder} -c listen_addresses='' -c fsync=off"
        self._run("pg_ctl", "--wait", f"--log={self._folder}/log", f"--options={options}", "start")

    def stop(self) -> None:
        self._run("pg_ctl", "--wait", "--mode=immediate", "stop")

    def make(self) -> None:
        self._run("initdb", "--auth=trust", f"--username={_USER}", "--no-sync", "--locale=C", "--encoding=UTF8")

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop all of the server's processes, which keep their connections and answer nothing."""
        server = int((self._folder / "data" / "postmaster.pid").read_text().split()[0])
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
        processes = [server, *(process for process, parent in pairs if parent == server)]
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                os.kill(process, signal.SIGCONT)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._binaries / program), f"--pgdata={self._folder}/data", *arguments]
        user = _other_user() if os.getuid() == 0 else None
        done = subprocess.run(
            command, user=user, cwd=self._folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def binaries() -> Path | None:
    """Return the folder of PostgreSQL's programs: that of the path, or the newest where Debian puts them."""
    found = shutil.which("initdb")
    known = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version)
    return next((folder for folder in reversed(known) if (folder / "initdb").exists()), None)


def _version(folder: Path) -> float:
    return float(folder.parent.name)


def _other_user() -> int:
    """Return a user who is not root, as whom PostgreSQL agrees to run."""
    return next(user.pw_uid for user in pwd.getpwall() if user.pw_name in {"postgres", "nobody"})


@contextmanager
def running() -> Iterator[Cluster]:
    """Give a server that runs; the path of its socket is short, as systems want it."""
    programs = binaries()
    assert programs is not None
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as name:
        if os.getuid() == 0:
            os.chown(name, _other_user(), -1)
        cluster = Cluster(programs, Path(name))
        cluster.make()
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()
