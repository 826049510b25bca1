"""A folder for temporary files that does not outlive its process, even one that is killed.

The process holds a lock on the folder, which the kernel releases when the process ends. The fork server waits for that
and removes the folder. If the fork server is killed too, the next process that makes such a folder removes it.
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
    """A folder whose path is known from the beginning and which is made when it is needed."""

    def __init__(self) -> None:
        try:
            parent = tempfile.gettempdir()
        except FileNotFoundError:  # nothing can be written anywhere: `make` says so
            parent = "."
        self.path = Path(parent) / f"gradd-temporary-{secrets.token_hex(16)}"
        self._process = os.getpid()
        self._making = Lock()
        self._held: int | None = None
        self._removed = False

    def make(self) -> None:
        """Make the folder and lock it, unless that is done; remove folders that killed processes left. Raises OSError.

        In a process that was forked from the folder's own nothing is done.
        """
        if os.getpid() != self._process:
            return
        with self._making:
            if self._removed:
                raise FileNotFoundError(f"{self.path} was removed when its process stopped")
            if self._held is None:
                _sweep(self.path.parent)
            while self._held is None:
                self.path.mkdir(mode=0o700, exist_ok=True)
                self._held = _locked(self.path)

    def remove(self) -> None:
        """Remove the folder with its files, for good. In a process that was forked from the folder's own do nothing."""
        if os.getpid() != self._process:
            return
        with self._making:
            self._removed = True
            if self._held is not None:
                shutil.rmtree(self.path, ignore_errors=True)
                os.close(self._held)
                self._held = None


def remove_after_owner(path: Path) -> None:
    """Wait until the folder's process has ended, and remove the folder. Where there is no folder do nothing."""
    _remove(_locked(path), path)


def _sweep(parent: Path) -> None:
    """Remove the folders whose processes have ended."""
    for path in parent.iterdir():
        if _NAME.fullmatch(path.name):
            with suppress(OSError):  # another user's, or still in use
                _remove(_locked(path, fcntl.LOCK_NB), path)


def _remove(lock: int | None, path: Path) -> None:
    if lock is not None:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _locked(path: Path, flags: int = 0) -> int | None:
    """Return a descriptor that locks the folder, or None where it has been removed. Raises OSError.

    Whoever had the lock before may have removed the folder, and another may stand in its place.
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
