"""A folder for temporary files that is removed after its process ends, even if the process is killed.

The process locks the folder, and the kernel releases the lock when the process ends. The fork server waits for the lock
and removes the folder. If the fork server is killed too, the next process that makes a temporary folder removes it.
`app.graphs.store.database` and `app.workers.fork_server` call it.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from threading import Lock

_NAME = re.compile(r"gradd-temporary-[0-9a-f]{32}")


class TemporaryFolder:
    """A temporary folder. Its path is fixed from the start; `make` creates it."""

    def __init__(self) -> None:
        try:
            parent = tempfile.gettempdir()
        except FileNotFoundError:  # no folder is writable: `make` raises
            parent = "."
        self.path = Path(parent) / f"gradd-temporary-{secrets.token_hex(16)}"
        self._process = os.getpid()
        self._making = Lock()
        self._held: int | None = None
        self._removed = False

    def make(self) -> None:
        """Create and lock the folder if it does not exist. Remove the folders of killed processes. Raises OSError.

        Does nothing in a forked process.
        """
        if os.getpid() != self._process:
            return
        with self._making:
            if self._removed:
                raise FileNotFoundError(f"{self.path} was removed when its process stopped")
            if self._held is None:
                _remove_unowned(self.path.parent)
            while self._held is None:
                self.path.mkdir(mode=0o700, exist_ok=True)
                self._held = _locked(self.path)

    def remove(self) -> None:
        """Remove the folder with its files permanently. Does nothing in a forked process."""
        if os.getpid() != self._process:
            return
        with self._making:
            self._removed = True
            if self._held is not None:
                shutil.rmtree(self.path, ignore_errors=True)
                os.close(self._held)
                self._held = None


def remove_after_owner(path: Path) -> None:
    """Wait until the folder's process has ended, and remove the folder if it exists."""
    _remove(_locked(path), path)


def _remove_unowned(parent: Path) -> None:
    """Remove the folders whose processes have ended."""
    for path in parent.iterdir():
        if _NAME.fullmatch(path.name):
            with suppress(OSError):  # it belongs to another user or is in use
                _remove(_locked(path, fcntl.LOCK_NB), path)


def _remove(lock: int | None, path: Path) -> None:
    if lock is not None:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _locked(path: Path, flags: int = 0) -> int | None:
    """Return a descriptor that locks the folder, or None if the folder was removed. Raises OSError.

    The previous owner of the lock may have removed the folder, and a new folder may have its path.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    is_there = False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | flags)
        is_there = path.exists() and os.path.samestat(os.fstat(descriptor), path.stat())
    finally:
        if not is_there:
            os.close(descriptor)
    return descriptor if is_there else None
