"""Routes that do nothing but read a body: the least that any service built with FastAPI takes.

`/read` returns as many bytes as REPLY_BYTES says, `/echo` the body itself.
"""

from __future__ import annotations

import os

from fastapi import FastAPI, Request, Response

app = FastAPI()
REPLY = b" " * int(os.environ.get("REPLY_BYTES", "0"))


@app.post("/read")
async def read(request: Request) -> Response:
    """Read the body, return as many bytes as the service that does the work."""
    await request.body()
    return Response(REPLY, media_type="application/json")


@app.post("/echo")
async def echo(request: Request) -> Response:
    """Return the body."""
    return Response(await request.body(), media_type="application/msgpack")
