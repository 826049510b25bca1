"""The API keys of a server: found by the hash of what a client sends, and read again when the file changes.

`app.access.control` calls it.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from pathlib import Path

import structlog

from app.access.key_file import ApiKey, UnusableKeyFile, hash_of, read
from app.errors import Unauthenticated

_log = structlog.get_logger("gradd.keys")

_LOOK_S = 1.0
"""Seconds between two looks at the file."""


class Keys:
    """The keys of a file. `on_change` adds a function that is called after the keys have changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = self._state()
        self._by_hash: dict[str, ApiKey] = {}
        self._listeners: list[Callable[[], None]] = []
        self._take()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Add a function to call after the keys have changed."""
        self._listeners.append(listener)

    def authenticated(self, authorization: str) -> ApiKey:
        """Return the key in an Authorization header. Raises Unauthenticated. Source: RFC 6750, sections 2.1 and 3.

        The table is searched by hash. The time of the search depends on the hash of what the client sends, which does
        not tell how near this is to a key.
        """
        scheme, _, token = authorization.partition(" ")
        if not authorization:
            raise Unauthenticated("The request has no key.", "Bearer")
        if scheme.lower() != "bearer":
            raise Unauthenticated("The header Authorization has no key in the scheme Bearer.", "Bearer")
        given = hash_of(token.strip(" "))
        found = self._by_hash.get(given)
        if found is None or not hmac.compare_digest(found.hash, given):
            raise Unauthenticated("The key is not known.", 'Bearer error="invalid_token"')
        return found

    async def watch(self) -> None:
        """Read the file again whenever it changes, until this task is cancelled. A thread looks at the file."""
        while True:
            await asyncio.sleep(_LOOK_S)
            state = await asyncio.to_thread(self._state)
            if state != self._seen:
                self._seen = state
                self.reload()

    def reload(self) -> None:
        """Read the file, and keep the present keys if it is not usable."""
        try:
            self._take()
        except UnusableKeyFile as error:
            _log.error("key file is not usable, the last keys stay", error=str(error))
            return
        _log.info("keys changed", keys=len(self._by_hash))

    def _take(self) -> None:
        self._by_hash = {key.hash: key for key in read(self._path).keys}
        for listener in self._listeners:
            listener()

    def _state(self) -> tuple[int, int, int] | None:
        """Return values that change whenever the file does."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size
