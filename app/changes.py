"""A word that several processes share and that is another one after each change, in a few bytes of a file.

`app.store` has one beside its own file. To look at it is to look at memory: a question to the file itself takes system
calls, which on some machines cost more than a small computation.
"""

from __future__ import annotations

import mmap
import secrets
from pathlib import Path

_SIZE = 16


class Changes:
    """The word in one file, which is made if it is not there. Raises OSError where it cannot be."""

    def __init__(self, path: Path) -> None:
        with path.open("ab+", buffering=0) as file:
            if file.tell() < _SIZE:
                file.write(bytes(_SIZE))
            self._shared = mmap.mmap(file.fileno(), _SIZE)

    @property
    def word(self) -> bytes:
        """What it is now. One that is half another is like no other."""
        return self._shared[:_SIZE]

    def note(self) -> None:
        """Make it another one, for all who share it."""
        self._shared[:_SIZE] = secrets.token_bytes(_SIZE)
