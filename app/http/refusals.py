"""Problem documents for the router's errors 404 and 405. `app.main` installs `refuse`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from app.errors import MethodNotAllowed, NotFound, ProblemError
from app.http.description import description
from engine import did_you_mean

Paths = Mapping[str, Mapping[str, Any]]
"""The paths of the OpenAPI document, with their methods."""


async def refuse(request: Request, error: Exception) -> NoReturn:
    """Raise the problem for an error of the router. FastAPI calls it as an exception handler."""
    assert isinstance(error, HTTPException)
    paths = (await description(request.app))["paths"]
    raise _problem(request, error, paths) from None


def _problem(request: Request, error: HTTPException, paths: Paths) -> ProblemError:
    path = request.url.path[:200]
    if error.status_code == 405:
        allowed = ", ".join(_methods(request.scope["path"], paths)) or (error.headers or {}).get("Allow", "")
        return MethodNotAllowed(f"{path} takes {allowed}, not {request.method}.", headers={"Allow": allowed})
    known = ["/docs", *paths]
    return NotFound(f"There is nothing at {path}.", hint=did_you_mean(path, known))


def _methods(path: str, paths: Paths) -> list[str]:
    """Return the methods of all routes of the path. The router's own list has the methods of one route only."""
    matching = (methods for template, methods in paths.items() if compile_path(template)[0].fullmatch(path))
    return sorted(method.upper() for methods in matching for method in methods)
