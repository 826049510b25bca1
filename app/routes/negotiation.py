"""What a client sends and accepts, held against what a resource reads and offers. Contract, section 7."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import Depends
from starlette.requests import Request

from app.errors import MEDIA_TYPE, NotAcceptable, UnsupportedMedia

JSON = "application/json"


def accepts(offered: str) -> Any:
    """Return a dependency of resources that offer one media type."""

    def check(request: Request) -> None:
        check_accept(request, offered)

    return Depends(check)


def check_accept(request: Request, offered: str = JSON) -> None:
    """Raise NotAcceptable where the client takes nothing that is offered."""
    accept = request.headers.get("accept")
    if accept is None or accept == "*/*":
        return
    matching = {offered, offered.partition("/")[0] + "/*", "*/*", MEDIA_TYPE}
    if not any(name in matching and weight > 0 for name, weight in map(_range, accept.split(","))):
        raise NotAcceptable(f"This resource is {offered}, which `Accept: {accept[:200]}` leaves out.")


def _range(part: str) -> tuple[str, float]:
    """Return a media range and its weight. Source: RFC 9110, section 12.5.1."""
    name, *parameters = (piece.strip() for piece in part.lower().split(";"))
    weights = [parameter[2:] for parameter in parameters if parameter.startswith("q=")]
    try:
        return name, float(weights[0]) if weights else 1.0
    except ValueError:
        return name, 0.0


def check_content(request: Request) -> None:
    """Raise UnsupportedMedia where the body is declared to be something other than JSON in UTF-8."""
    for header, is_read in _READ.items():
        value = request.headers.get(header)
        if value is not None and not is_read(value.strip().lower()):
            detail = f"`{header}: {value[:200]}` is not read here; send {JSON} in UTF-8 without a content encoding."
            raise UnsupportedMedia(detail, headers={"Accept": JSON, "Accept-Encoding": "identity"})


def _is_json(value: str) -> bool:
    name, *parameters = (piece.strip() for piece in value.split(";"))
    charsets = [parameter.partition("=")[2].strip('"') for parameter in parameters if parameter.startswith("charset=")]
    return name in {JSON, ""} and all(charset in {"utf-8", "utf8"} for charset in charsets)


_READ: dict[str, Callable[[str], bool]] = {
    "Content-Type": _is_json,
    "Content-Encoding": lambda value: value in {"identity", ""},
}
