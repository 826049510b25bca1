"""Middleware that refuses requests which are not let in. `app.main` installs it inside `Observation`."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from app.access.control import READ, Access, Claims

KEY = "gradd.key"
"""The member of a request's scope with its `ApiKey`, or None."""

_READ = {name.encode("ascii") for name in READ}


class AccessControl:
    """Checks the headers of each request before anything else of it is read."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the inner application with the request's key in the scope. Raises the problems of `Access.admit`."""
        if scope["type"] == "http":
            read = [(n.decode("ascii"), v.decode("latin-1").strip(" \t")) for n, v in scope["headers"] if n in _READ]
            scope[KEY] = self.access.admit(scope["method"], scope["path"], Claims.of(read))
        await self.app(scope, receive, send)
