"""Parsing of Accept and Accept-Encoding. `app.http.negotiation` and `app.http.compression` call it."""

from __future__ import annotations


def weights(header: str) -> dict[str, float]:
    """Return the weights of an Accept or Accept-Encoding header by lower-case name.

    A weight that is not a number counts as 0. Source: RFC 9110, sections 12.4.2, 12.5.1 and 12.5.3.
    """
    return dict(_weighted(part) for part in header.lower().split(",") if part.strip())


def _weighted(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip() for piece in part.split(";"))
    given = [parameter[2:] for parameter in parameters if parameter.startswith("q=")]
    try:
        return name, float(given[0]) if given else 1.0
    except ValueError:
        return name, 0.0
