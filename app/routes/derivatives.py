"""POST /v1/gradients, /v1/forward and their kind: one resource for each entry of `app.operations.OPERATIONS`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.evaluate import Call
from app.operations import OPERATIONS
from app.routes.examples import EXAMPLES
from app.routes.negotiation import VARY, codecs
from app.schemas.description import CALLS, bodies, problems, replies

router = APIRouter(tags=["derivatives"])


def _endpoint(operation: str) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await answered(request, operation)

    return endpoint


async def answered(request: Request, operation: str, graph_id: str | None = None) -> Response:
    """Return the reply to a call, which brings its graph or calls the registered one of an id. Raises Problem."""
    reads, writes = codecs(request)
    state = request.app.state
    body = [piece async for piece in request.stream()]
    call = Call(operation, b"", reads, writes, graph_id)
    answer = await state.placement.answer(call, body, partial(gone, request))
    timings = answer.timings
    plan = "hit" if timings.kept else "miss"
    phases = {"parse": timings.parse, "plan": timings.plan, "run": timings.run, "encode": timings.encode}
    state.metrics.computed(phases, plan)
    if answer.elsewhere_s is not None:
        phases["elsewhere"] = answer.elsewhere_s
    headers = {**VARY, "Server-Timing": _server_timing(phases, plan)}
    return Response(answer.body, media_type=writes.media_type, headers=headers)


def _server_timing(phases: dict[str, float], plan: str) -> str:
    """Return the header's value, durations in milliseconds. Source: W3C Server Timing, section 2."""
    described = {"plan": f";desc={plan}"}
    return ", ".join(f"{name}{described.get(name, '')};dur={s * 1000:.3f}" for name, s in phases.items())


async def gone(request: Request) -> None:
    """Return when the client closes the connection. The body has been read, so nothing else can arrive."""
    while (await request.receive())["type"] != "http.disconnect":
        continue


for _name in OPERATIONS:
    _call = CALLS[_name]
    router.add_api_route(
        f"/v1/{_name}",
        _endpoint(_name),
        methods=["POST"],
        name=_name,
        operation_id=_name,
        summary=_call.summary,
        description=_call.description,
        response_class=Response,
        responses={
            200: replies(_call.reply),
            **problems(400, 406, 408, 413, 415, 422, 503, 504),
        },
        openapi_extra={"requestBody": bodies(_call.request, EXAMPLES[_name])},
    )
