"""Problem documents for the router's errors 404 and 405. `app.main` installs `refuse`."""

from __future__ import annotations

from typing import NoReturn

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from app.errors import MethodNotAllowed, NotFound, ProblemError
from engine import did_you_mean


async def refuse(request: Request, error: Exception) -> NoReturn:
    """Raise the problem for an error of the router. FastAPI calls it as an exception handler."""
    assert isinstance(error, HTTPException)
    raise _problem(request, error) from None


def _problem(request: Request, error: HTTPException) -> ProblemError:
    path = request.url.path[:200]
    if error.status_code == 405:
        allowed = ", ".join(_methods(request)) or (error.headers or {}).get("Allow", "")
        return MethodNotAllowed(f"{path} takes {allowed}, not {request.method}.", headers={"Allow": allowed})
    known = ["/docs", *request.app.openapi()["paths"]]
    return NotFound(f"There is nothing at {path}.", hint=did_you_mean(path, known))


def _methods(request: Request) -> list[str]:
    """Return the methods of all routes of the path. The router's own list has the methods of one route only."""
    described = request.app.openapi()["paths"].items()
    matching = (methods for path, methods in described if compile_path(path)[0].fullmatch(request.scope["path"]))
    return sorted(method.upper() for methods in matching for method in methods)
