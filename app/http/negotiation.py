"""Content negotiation: codecs from Content-Type and Accept. Routes and the fast path call it. Contract, section 7."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from fastapi import Depends
from starlette.requests import Request

from app.errors import MEDIA_TYPE, NotAcceptable, UnsupportedMedia
from app.http.accept import weights
from app.wire.codec import CODECS, Codec

JSON = "application/json"

VARY = {"Vary": "Accept"}
"""The header of replies with more than one media type."""

_BY_NAME = {name: codec for codec in CODECS.values() for name in (codec.media_type, *codec.aliases)}
_BODIES = " or ".join(CODECS)
_CURL = "application/x-www-form-urlencoded"
"""The default media type of `curl -d`."""


def codecs(request: Request) -> tuple[Codec, Codec]:
    """Return the codecs of the request's body and of its reply. Raises NotAcceptable, UnsupportedMedia."""
    return negotiated(request.headers.get("content-type", ""), request.headers.get("accept", "*/*"))


@lru_cache(256)
def negotiated(content_type: str, accept: str) -> tuple[Codec, Codec]:
    """Return the codecs of the body and of the reply for two headers. Raises NotAcceptable, UnsupportedMedia."""
    writes = _BY_NAME[_best(accept, list(_BY_NAME))]
    return _body_codec(content_type), writes


def reply_codec(request: Request) -> Codec:
    """Return the client's preferred codec of the reply. Raises NotAcceptable."""
    return _BY_NAME[_best(request.headers.get("accept", "*/*"), list(_BY_NAME))]


def accepts(offered: str) -> Any:
    """Return a FastAPI dependency for resources with one media type."""

    def check(request: Request) -> None:
        _best(request.headers.get("accept", "*/*"), [offered])

    return Depends(check)


def _best(accept: str, offered: Sequence[str]) -> str:
    """Return the client's preferred media type among `offered`. With equal weights it is the first.

    A client that accepts only problem documents gets the first media type. Raises NotAcceptable.
    """
    if accept == "*/*":
        return offered[0]
    ranges = weights(accept)
    best = max(offered, key=lambda name: _weight(name, ranges))
    if _weight(best, ranges) > 0:
        return best
    if ranges.get(MEDIA_TYPE, 0) > 0:
        return offered[0]
    what = _BODIES if len(offered) > 1 else offered[0]
    raise NotAcceptable(f"This resource is {what}, which `Accept: {accept[:200]}` leaves out.")


def _weight(name: str, ranges: Mapping[str, float]) -> float:
    """Return the weight of the most specific range for the media type. Source: RFC 9110, section 12.5.1."""
    wider = (name, name.partition("/")[0] + "/*", "*/*")
    return next((ranges[known] for known in wider if known in ranges), 0.0)


def _body_codec(value: str) -> Codec:
    """Return the codec of the body. It is JSON without a Content-Type. Raises UnsupportedMedia."""
    name, *parameters = (piece.strip() for piece in value.lower().split(";"))
    codec = _BY_NAME.get(name or JSON)
    charsets = [parameter.partition("=")[2].strip('"') for parameter in parameters if parameter.startswith("charset=")]
    if codec is None or not all(charset in {"utf-8", "utf8"} for charset in charsets):
        detail = f"`Content-Type: {value[:200]}` is not read here; send {_BODIES}, text in UTF-8."
        sent_by_curl = "`curl -d` sends this type by itself: add " if name == _CURL else "Name the type of the body: "
        hint = f"{sent_by_curl}-H 'content-type: {JSON}'."
        raise UnsupportedMedia(detail, hint=hint, headers={"Accept": ", ".join(CODECS)})
    return codec
