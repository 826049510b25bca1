"""A reply as a page shows it, held against the one that the server gives.

A page shows an object by the members that its text speaks of, a list whole, and numbers to as many digits as it likes.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any


def read(text: str) -> Any:
    """Read JSON with the digits of its numbers."""
    return json.loads(text, parse_float=Decimal)


def difference(shown: Any, given: Any, at: str = "") -> str | None:
    """Return where the reply `given` is not what is `shown`, or None."""
    if isinstance(shown, dict) and isinstance(given, dict):
        missing = shown.keys() - given.keys()
        if missing:
            return f"{at or '/'}: no {', '.join(sorted(missing))} in {sorted(given)}"
        return _first(difference(value, given[name], f"{at}/{name}") for name, value in shown.items())
    if isinstance(shown, list) and isinstance(given, list) and len(shown) == len(given):
        pairs = enumerate(zip(shown, given, strict=True))
        return _first(difference(*pair, f"{at}/{index}") for index, pair in pairs)
    if isinstance(shown, Decimal) and isinstance(given, float):
        return None if _same(shown, Decimal(repr(given))) else f"{at}: {shown} is shown for {given}"
    return None if shown == given and type(shown) is type(given) else f"{at}: {shown!r} is shown for {given!r}"


def _first(found: Any) -> str | None:
    return next((problem for problem in found if problem), None)


def _same(shown: Decimal, given: Decimal) -> bool:
    """Whether what is shown is what is given, rounded to the digits shown."""
    return shown == given.quantize(shown)
