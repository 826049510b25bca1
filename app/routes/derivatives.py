"""POST /v1/gradients, /v1/forward, …: one resource for each entry of `app.evaluation.operations.OPERATIONS`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from app.evaluation.evaluator import Answer, Call
from app.evaluation.operations import OPERATIONS
from app.http.compression import DEADLINE
from app.http.exchange import COMPUTED, ComputationTimes
from app.http.negotiation import VARY, codecs
from app.http.server_timing import server_timing
from app.http.services import services_of
from app.schemas.openapi import bodies, problems, replies
from app.wire.codec import Codec
from app.workers.shared_memory import Lease


class BareRoute(APIRoute):
    """A route with an endpoint that takes the request and returns the response. FastAPI only describes it.

    FastAPI's handler, which resolves dependencies, takes 50 of the 400 µs of CPU of a call with two numbers.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the endpoint."""
        return self.endpoint


router = APIRouter(tags=["derivatives"], route_class=BareRoute)


def _endpoint(operation: str) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await answered(request, operation)

    return endpoint


async def answered(request: Request, operation: str, graph_id: str | None = None) -> Response:
    """Return the reply to a call with its own graph, or of the registered graph `graph_id`. Raises Problem."""
    reads, writes = codecs(request)
    services = services_of(request.app)
    pieces, lease = await _read_body(request)
    call = Call(operation, b"", reads, writes, graph_id)
    try:
        answer = await services.dispatcher.answer(call, pieces, partial(gone, request), lease)
    finally:
        pieces.clear()
        if lease is not None:
            lease.end()
    services.metrics.computed(answer.timings)
    request.scope[COMPUTED] = ComputationTimes.of(answer)
    request.scope[DEADLINE] = answer.deadline
    return _Reply(answer, writes)


async def _read_body(request: Request) -> tuple[list[bytes], Lease | None]:
    """Return the body in the received pieces, and its lease if it is in shared memory. Raises ClientDisconnect."""
    pieces = []
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return pieces, message.get("lease")


class _Reply(Response):
    """A reply with precomputed headers; no header is looked up."""

    def __init__(self, answer: Answer, writes: Codec) -> None:
        self.status_code, self.body, self.background = 200, answer.body, None
        self.raw_headers = [
            (b"content-length", b"%d" % len(answer.body)),
            (b"content-type", writes.media_type.encode("ascii")),
            (b"server-timing", server_timing(answer).encode("ascii")),
            *_VARY,
        ]


_VARY = [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in VARY.items()]


async def gone(request: Request) -> None:
    """Return when the client closes the connection. The body is read already, so no other message can arrive."""
    while (await request.receive())["type"] != "http.disconnect":
        continue


for _name, _operation in OPERATIONS.items():
    router.add_api_route(
        f"/v1/{_name}",
        _endpoint(_name),
        methods=["POST"],
        name=_name,
        operation_id=_name,
        summary=_operation.summary,
        description=_operation.description,
        response_class=Response,
        responses={
            200: replies(_operation.reply),
            **problems(400, 406, 408, 413, 415, 422, 503, 504),
        },
        openapi_extra={"requestBody": bodies(_operation.request, _operation.examples)},
    )
