"""Routes that only read a body: the minimum time of any service built with FastAPI.

`/read` returns REPLY_BYTES bytes, `/echo` the body itself.
"""

from __future__ import annotations

import os

from fastapi import FastAPI, Request, Response

app = FastAPI()
REPLY = b" " * int(os.environ.get("REPLY_BYTES", "0"))


@app.post("/read")
async def read(request: Request) -> Response:
    """Read the body and return as many bytes as the reply of gradd's service."""
    await request.body()
    return Response(REPLY, media_type="application/json")


@app.post("/echo")
async def echo(request: Request) -> Response:
    """Return the body."""
    return Response(await request.body(), media_type="application/msgpack")
