"""The OpenAPI document of the application, for the route that returns it and for errors of the router."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import FastAPI


async def description(app: FastAPI) -> dict[str, Any]:
    """Return the document. A thread makes it when it is first needed, which takes 50 ms."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    return await asyncio.to_thread(app.openapi)
