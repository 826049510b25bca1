"""/v1/graphs: registration, retrieval, deletion and calls of graphs. Contract, section 6."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.access.key_file import ApiKey
from app.access.middleware import KEY
from app.evaluation.operations import OPERATIONS
from app.graphs import registration
from app.graphs.registered import unknown
from app.graphs.store.store import Owner, StoredGraph
from app.http.negotiation import VARY, codecs, reply_codec
from app.http.services import services_of
from app.routes.derivatives import BareRoute, answered, gone
from app.routes.examples.registered import CALLS_OF_LAYER, GRAPHS, REGISTERED_ID
from app.schemas.openapi import bodies, problems, replies
from app.schemas.replies import RegisteredGraph, RegistrationReply
from app.schemas.requests import RegistrationRequest

router = APIRouter(prefix="/v1/graphs", tags=["registered graphs"], route_class=BareRoute)

T = TypeVar("T")

ID_PARAMETER = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "description": "what the registration replied",
    "example": REGISTERED_ID,
}

_BRIEF = 2**14
"""Bytes of a body up to which a thread reads a graph. A thread cannot be ended, so a worker reads larger ones."""

_FOREVER = "private, max-age=31536000, immutable"
"""An id is a hash of its graph, so a cached reply never becomes stale. Source: RFC 8246."""


async def known(request: Request) -> str:
    """Return the id in the path if its graph is registered. Raises NotFound, StoreUnavailable, TimedOut."""
    graph_id: str = request.path_params["id"]
    services = services_of(request.app)
    owner = _owner(request)
    found = services.store.is_known(graph_id, owner) or await services.lookups.run(
        lambda: services.store.has(graph_id, owner), timeout_s=services.settings.timeout_ms / 1000
    )
    services.metrics.looked_up(found)
    if not found:
        raise unknown(graph_id)
    services.expiry.note(graph_id)
    return graph_id


def _owner(request: Request) -> str | None:
    """Return the name of the request's key, which owns graphs, or None on a server without keys."""
    key: ApiKey | None = request.scope.get(KEY)
    return None if key is None else key.name


async def _off_loop(request: Request, work: Callable[[], T], deadline: float | None = None) -> T:
    """Return the result of blocking work, run outside the event loop. Raises its errors, TimedOut, ClientGone."""
    services = services_of(request.app)
    timeout_s = services.settings.timeout_ms / 1000 if deadline is None else max(0.0, deadline - time.monotonic())
    return await services.pool.run(work, timeout_s=timeout_s, gone=partial(gone, request))


@router.post(
    "",
    operation_id="register_graph",
    summary="Register a graph",
    status_code=201,
    response_class=Response,
    responses={
        201: replies(RegistrationReply),
        200: replies(RegistrationReply),
        **problems(400, 406, 408, 413, 415, 422, 429, 503, 504),
    },
    openapi_extra={"requestBody": bodies(RegistrationRequest, GRAPHS)},
)
async def register(request: Request) -> Response:
    """Register a graph, to call it with values alone. Answers 201, or 200 if the same graph is already registered.

    The id is a hash of the graph's content, independent of the order and form in which it is written. Tensors may have
    `shape` and `dtype` without `data`, and null in the shape for a dimension of any size; calls send their values.
    """
    reads, writes = codecs(request)
    body = await request.body()
    services = services_of(request.app)
    key: ApiKey | None = request.scope.get(KEY)
    owner = None if key is None else Owner(key.name, key.quotas.graphs, key.quotas.bytes)

    deadline = time.monotonic() + services.settings.timeout_ms / 1000
    found: tuple[StoredGraph, list[str]] | None = None
    if len(body) > _BRIEF:
        found = await services.dispatcher.registration(body, reads, deadline, partial(gone, request))

    def work() -> tuple[str, bytes, bool]:
        kept, needs = found or registration.read(body, reads, services.settings, deadline)
        created, new = services.store.put(kept, owner, deadline)
        return kept.id, writes.write({"id": kept.id, "created": created, "needs": needs}, "json"), new

    graph_id, reply, new = await _off_loop(request, work, deadline)
    services.expiry.note(graph_id)
    location = f"{request.scope.get('root_path', '')}/v1/graphs/{graph_id}"
    headers = {**VARY, "Location": location, "ETag": f'"{graph_id}"'}
    return Response(reply, 201 if new else 200, media_type=writes.media_type, headers=headers)


@router.get(
    "/{id}",
    operation_id="get_graph",
    summary="A registered graph",
    response_class=Response,
    responses={
        200: replies(RegisteredGraph),
        304: {"description": "The client has it already."},
        **problems(404, 406, 503, 504),
    },
    openapi_extra={"parameters": [ID_PARAMETER]},
)
async def show(request: Request) -> Response:
    """Return the graph in its normal form: all members, tensors by name, values nested. `ETag` is the id."""
    writes = reply_codec(request)
    graph_id = await known(request)
    headers = {**VARY, "ETag": f'"{graph_id}"', "Cache-Control": _FOREVER}
    if _has(request, graph_id):
        return Response(status_code=304, headers=headers)
    services, owner = services_of(request.app), _owner(request)

    def work() -> bytes:
        shown = services.graphs.get(graph_id).shown()
        if owner is not None:  # another key may have registered the graph earlier
            shown["created"] = services.store.created(graph_id, owner)
            if shown["created"] is None:
                raise unknown(graph_id)
        return writes.write(shown, "json")

    reply = await _off_loop(request, work)
    return Response(reply, media_type=writes.media_type, headers=headers)


def _has(request: Request, graph_id: str) -> bool:
    """Whether the client's copy of the graph is current. Source: RFC 9110, section 13.1.2."""
    tags = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    return "*" in tags or f'"{graph_id}"' in tags


@router.delete(
    "/{id}",
    operation_id="delete_graph",
    summary="Delete a registered graph",
    status_code=204,
    response_class=Response,
    responses={204: {"description": "It is deleted."}, **problems(404, 503, 504)},
    openapi_extra={"parameters": [ID_PARAMETER]},
)
async def delete(request: Request) -> Response:
    """Delete a graph. Calls of it return 404 from now on. The same graph, registered again, has the same id."""
    graph_id: str = request.path_params["id"]
    services, owner = services_of(request.app), _owner(request)
    deadline = time.monotonic() + services.settings.timeout_ms / 1000
    if not await _off_loop(request, lambda: services.store.delete(graph_id, owner, deadline), deadline):
        raise unknown(graph_id)
    return Response(status_code=204)


def _call(operation: str) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await answered(request, operation, await known(request))

    return endpoint


_CALL = "`tensors` stands in place of `graph`; what it leaves out keeps the values that are registered."

for _name, _operation in OPERATIONS.items():
    router.add_api_route(
        f"/{{id}}/{_name}",
        _call(_name),
        methods=["POST"],
        name=f"registered_{_name}",
        operation_id=f"registered_{_name}",
        summary=f"{_operation.summary}, of a registered graph",
        description=f"{_operation.description} {_CALL}",
        response_class=Response,
        responses={
            200: replies(_operation.reply),
            **problems(400, 404, 406, 408, 413, 415, 422, 503, 504),
        },
        openapi_extra={
            "parameters": [ID_PARAMETER],
            "requestBody": bodies(_operation.call, CALLS_OF_LAYER[_name]),
        },
    )
