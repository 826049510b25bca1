"""Decides whether a request is let in, from its headers alone.

The middleware and the fast path call `Access.identified` and `permit`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.access.gate import Gate
from app.access.key_file import ApiKey
from app.access.keys import Keys
from app.access.permissions import OPEN, needed
from app.access.quotas import CallWindow
from app.errors import Forbidden, NotFound
from app.settings import Settings

READ = frozenset({"host", "origin", "sec-fetch-site", "authorization"})
"""The names of the headers that decide."""


_METRICS = "/metrics"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a request says of its origin: the values of its headers, and the key that it has."""

    hosts: Sequence[str] = ()
    origin: str = ""
    site: str = ""
    authorization: str = ""

    @classmethod
    def of(cls, headers: Sequence[tuple[str, str]]) -> Claims:
        """Return the claims in headers with lower-case names. Of several Authorization headers none counts."""
        single = dict(headers)
        keys = [value for name, value in headers if name == "authorization"]
        return cls(
            hosts=[value for name, value in headers if name == "host"],
            origin=single.get("origin", ""),
            site=single.get("sec-fetch-site", ""),
            authorization=keys[0] if len(keys) == 1 else "",
        )


class Access:
    """The access control of one application. `keys` is None for a server without keys, which is open."""

    def __init__(self, settings: Settings) -> None:
        self._gate = Gate(settings)
        self.keys = None if settings.keys_file is None else Keys(Path(settings.keys_file))
        self._metrics_port = settings.metrics_port
        self._windows: dict[str, CallWindow] = {}
        self._watching: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to watch the file of keys. Call it on the event loop."""
        if self.keys is not None:
            self._watching = asyncio.get_running_loop().create_task(self.keys.watch())

    def stop(self) -> None:
        """Stop to watch it."""
        if self._watching is not None:
            self._watching.cancel()

    def identified(self, path: str, claims: Claims, port: int | None = None) -> ApiKey | None:
        """Return the key of a request to a port, or None if it needs none.

        Raises UnknownHost, ForeignOrigin, NotFound, Unauthenticated.
        """
        self._gate.check(claims.hosts, claims.origin, claims.site)
        if OPEN.fullmatch(path):
            return None
        is_metrics_port = port is not None and port == self._metrics_port
        if self._metrics_port is not None and is_metrics_port != (path == _METRICS):
            raise NotFound(f"There is nothing at {path[:200]} on this port.")
        return None if self.keys is None or is_metrics_port else self.keys.authenticated(claims.authorization)

    def window(self, key: ApiKey) -> CallWindow | None:
        """Return the quota of calls of a key, or None if it has none. It survives changes of the file of keys."""
        if key.quotas.rate is None:
            return None
        window = self._windows.get(key.name)
        if window is None or (window.most, window.seconds) != key.quotas.rate:
            window = self._windows[key.name] = CallWindow(*key.quotas.rate)
        return window


def permit(key: ApiKey, method: str, path: str) -> None:
    """Check that a key may make a request. Raises Forbidden, NotFound, MethodNotAllowed."""
    permission = needed(method, path)
    if permission is not None and permission not in key.permissions:
        raise Forbidden(f"The key {key.name} has no permission {permission}.")
