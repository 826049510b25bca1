"""The permissions of keys, and the permission that each resource needs. `app.access.control` reads the table."""

from __future__ import annotations

import re
from enum import StrEnum

from app.errors import MethodNotAllowed, NotFound


class Permission(StrEnum):
    """A group of resources that a key may use."""

    EVALUATE = "evaluate"
    """Call the derivatives, also those of registered graphs."""
    REGISTER = "register"
    """Register graphs."""
    READ = "read"
    """Read the key's registered graphs."""
    DELETE = "delete"
    """Delete the key's registered graphs."""
    METRICS = "metrics"
    """Read the metrics, which count the requests of all keys."""


USUAL = frozenset(Permission) - {Permission.METRICS}
"""The permissions of a key without a list of them."""

_SEGMENT = "[^/]+"

_RESOURCES: tuple[tuple[str, dict[str, Permission | None]], ...] = (
    ("/v1/graphs", {"POST": Permission.REGISTER}),
    (f"/v1/graphs/{_SEGMENT}", {"GET": Permission.READ, "DELETE": Permission.DELETE}),
    (f"/v1/graphs/{_SEGMENT}/{_SEGMENT}", {"POST": Permission.EVALUATE}),
    ("/v1/(?:ops|limits)", {"GET": None}),
    (f"/v1/ops/{_SEGMENT}", {"GET": None}),
    (f"/v1/{_SEGMENT}", {"POST": Permission.EVALUATE}),
    ("/metrics", {"GET": Permission.METRICS}),
    (f"/|/openapi.json|/docs|/docs/{_SEGMENT}|/favicon.ico", {"GET": None}),
)
"""Patterns of paths, and the permission of each method. None: every key has it. A path has the first pattern's."""

_PATTERNS = [(re.compile(pattern), methods) for pattern, methods in _RESOURCES]

OPEN = re.compile("/health/(?:live|ready)")
"""Paths that need no key."""


def needed(method: str, path: str) -> Permission | None:
    """Return the permission that a request needs, or None. Raises NotFound, MethodNotAllowed.

    A resource that is not in the table is not found, so that a new one is closed until it has a row.
    """
    for pattern, methods in _PATTERNS:
        if pattern.fullmatch(path):
            if method not in methods:
                allowed = ", ".join(methods)
                detail = f"{path[:200]} takes {allowed}, not {method}."
                raise MethodNotAllowed(detail, headers={"Allow": allowed})
            return methods[method]
    raise NotFound(f"There is nothing at {path[:200]}.")
