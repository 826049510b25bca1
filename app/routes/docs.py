"""The documentation page: Swagger UI from this server's own files, so no network access is necessary."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter
from starlette.responses import Response

from app.errors import NotFound
from app.http.negotiation import accepts

router = APIRouter(include_in_schema=False)

_OWN = files("app") / "static"
_SWAGGER = files("fastapi_offline") / "static"

_ASSETS: dict[str, tuple[Traversable, str]] = {
    "docs.js": (_OWN / "docs.js", "text/javascript"),
    "favicon.svg": (_OWN / "favicon.svg", "image/svg+xml"),
    "swagger-ui.css": (_SWAGGER / "swagger-ui.css", "text/css"),
    "swagger-ui-bundle.js": (_SWAGGER / "swagger-ui-bundle.js", "text/javascript"),
}

# Swagger UI writes style attributes and runs only its own scripts.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'"
)


@router.get("/docs", dependencies=[accepts("text/html")])
async def page() -> Response:
    """Show the API's description, with examples to try."""
    html = (_OWN / "docs.html").read_bytes()
    return Response(html, media_type="text/html", headers={"Content-Security-Policy": _POLICY})


@router.get("/docs/{name}")
async def asset(name: str) -> Response:
    """Return a file that the page needs."""
    if name not in _ASSETS:
        raise NotFound(f"The documentation has no file {name[:100]!r}.")
    file, media_type = _ASSETS[name]
    return Response(file.read_bytes(), media_type=media_type, headers={"Cache-Control": "public, max-age=3600"})


@router.get("/favicon.ico")
async def favicon() -> Response:
    """Return the icon where browsers look for it."""
    return await asset("favicon.svg")
