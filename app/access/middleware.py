"""Middleware that refuses requests which the gate does not let in. `app.main` installs it inside `Observation`."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from app.access.gate import Gate

_READ = {b"host", b"origin", b"sec-fetch-site"}


class AccessControl:
    """Checks the headers of each request before anything else of it is read."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self.app, self.gate = app, gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the inner application. Raises UnknownHost, ForeignOrigin."""
        if scope["type"] == "http":
            found = [(name, value.decode("latin-1")) for name, value in scope["headers"] if name in _READ]
            headers = dict(found)
            hosts = [value for name, value in found if name == b"host"]
            self.gate.check(hosts, headers.get(b"origin", ""), headers.get(b"sec-fetch-site", ""))
        await self.app(scope, receive, send)
