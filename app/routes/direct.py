"""The shortest way to the calls that compute: a table instead of the framework's router.

The innermost of what surrounds a request. It leads the calls of `app.operations.OPERATIONS` to the endpoints that the
routers describe; looking through all routes, solving dependencies and keeping exit stacks would take longer than a
small computation. All other requests go on to the router.
"""

from __future__ import annotations

from collections.abc import Iterable

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app.operations import OPERATIONS

_REGISTERED = "/v1/graphs/"


class Direct:
    """Answers the calls that compute."""

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        self.app = app
        self._routes = paths(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or pass it on."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope.get("root_path"):
            await self.app(scope, receive, send)
            return
        template, parameters = taken_apart(scope["path"])
        route = self._routes.get(template)
        if route is None:
            await self.app(scope, receive, send)
            return
        scope["route"], scope["path_params"] = route, parameters
        response = await route.endpoint(Request(scope, receive, send))
        await response(scope, receive, send)


def paths(routes: Iterable[BaseRoute]) -> dict[str, APIRoute]:
    """Return the routes of the calls that compute, by the templates of their paths."""
    return {
        route.path: route
        for route in routes
        if isinstance(route, APIRoute) and route.path.rpartition("/")[2] in OPERATIONS
    }


def taken_apart(path: str) -> tuple[str, dict[str, str]]:
    """Return the template of a call's path and what stands for its parameters."""
    if not path.startswith(_REGISTERED):
        return path, {}
    graph_id, _, operation = path[len(_REGISTERED) :].partition("/")
    return f"{_REGISTERED}{{id}}/{operation}", {"id": graph_id}
