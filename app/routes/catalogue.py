"""GET /v1/ops: the list of ops, and a page for each op."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.errors import NotFound
from app.http.negotiation import JSON, accepts
from app.schemas.openapi import content, problems, ref
from app.schemas.replies import OpList, OpPage
from engine import Suggestions, catalogue, op_hint

router = APIRouter(prefix="/v1/ops", tags=["catalogue"], dependencies=[accepts(JSON)])


def op_list() -> dict[str, Any]:
    """Return the name, family, signature and summary of each op."""
    shown = ("name", "family", "signature", "summary")
    pages = map(catalogue.describe, catalogue.names())
    return {"ops": [{member: page[member] for member in shown} for page in pages]}


def op_page(name: str) -> dict[str, Any]:
    """Return the full description of an op, with an example request for /v1/forward. Raises NotFound."""
    names = catalogue.names()
    if name not in names:
        hint = op_hint(name, names, Suggestions())
        raise NotFound(f"There is no op {name[:100]!r}.", hint=hint)
    page = catalogue.describe(name)
    return {**page, "example": {"graph": page["example"]}}


@cache
def _encoded_list() -> bytes:
    return orjson.dumps(op_list())


@router.get(
    "",
    operation_id="list_ops",
    summary="All ops",
    responses={200: content(ref(OpList)), **problems(406)},
    response_class=Response,
)
async def ops() -> Response:
    """List the ops: name, family, signature and summary of each."""
    # The first time takes 90 ms.
    return Response(await asyncio.to_thread(_encoded_list), media_type=JSON)


_NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}, "example": "matmul"}


@router.get(
    "/{name}",
    operation_id="get_op",
    summary="One op",
    responses={200: content(ref(OpPage)), **problems(404, 406)},
    response_class=Response,
    openapi_extra={"parameters": [_NAME]},
)
async def op(request: Request) -> Response:
    """Describe an op's inputs and results, with an example request for /v1/forward."""
    return Response(orjson.dumps(op_page(request.path_params["name"])), media_type=JSON)
