"""Middleware that refuses requests which are not let in. `app.main` installs it inside `Observation`."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from app.access.control import READ, Access, Claims, permit

KEY = "gradd.key"
"""The member of a request's scope with its `ApiKey`, or None."""

WINDOW = "gradd.calls"
"""The member of a request's scope with the `CallWindow` of its key, or None."""

_READ = {name.encode("ascii") for name in READ}


class AccessControl:
    """Checks the headers of each request before anything else of it is read."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the inner application with the request's key in the scope.

        Raises the problems of `Access.identified` and `permit`, and QuotaExceeded.
        """
        if scope["type"] == "http":
            read = [(n.decode("ascii"), v.decode("latin-1").strip(" \t")) for n, v in scope["headers"] if n in _READ]
            server = scope.get("server")
            key = scope[KEY] = self.access.identified(scope["path"], Claims.of(read), server and server[1])
            if key is not None:
                window = scope[WINDOW] = self.access.window(key)
                if window is not None and not window.take():
                    raise window.exceeded(key.name)
                permit(key, scope["method"], scope["path"])
        await self.app(scope, receive, send)
