"""Resources for operators: health, limits and metrics; also the service's root."""

from __future__ import annotations

from contextlib import suppress

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse, RedirectResponse, Response

from app.errors import Busy, StoreUnavailable, TimedOut
from app.graphs.store.store import StoreUsage
from app.http.description import description
from app.http.negotiation import JSON, accepts
from app.http.services import services_of
from app.schemas.openapi import content, problems, ref
from app.schemas.replies import Health, Limit

router = APIRouter(tags=["service"])

_USAGE_S = 1.0
"""Maximum seconds for which the metrics wait for the store's counters."""


@router.get("/", include_in_schema=False, dependencies=[accepts("text/html")])
async def root(request: Request) -> Response:
    """Redirect to the documentation, or to the API's description if the server has no documentation."""
    return RedirectResponse("docs" if services_of(request.app).settings.docs else "openapi.json", status_code=307)


@router.get(
    "/openapi.json",
    operation_id="get_openapi",
    summary="The API's description",
    dependencies=[accepts(JSON)],
    responses=problems(406),
)
async def openapi(request: Request) -> JSONResponse:
    """Describe every resource in OpenAPI 3.1."""
    return JSONResponse(await description(request.app))


@router.get(
    "/health/live",
    operation_id="health_live",
    summary="Is it running?",
    dependencies=[accepts(JSON)],
    responses={200: content(ref(Health)), **problems(406)},
)
async def live() -> JSONResponse:
    """Answer as long as the process runs, independent of the computations in progress."""
    return JSONResponse({"status": "ok"})


@router.get(
    "/health/ready",
    operation_id="health_ready",
    summary="Does it take requests?",
    dependencies=[accepts(JSON)],
    responses={200: content(ref(Health)), **problems(406, 503)},
)
async def ready(request: Request) -> JSONResponse:
    """Answer 200 while the service accepts requests, 503 while it starts or stops or its store's file fails."""
    services = services_of(request.app)
    if not services.readiness.is_ready:
        raise Busy("The service is starting or stopping.", services.settings.retry_after_s)
    with suppress(TimedOut):  # a store that is busy is there
        await services.lookups.run(services.store.verify, timeout_s=_USAGE_S)
    return JSONResponse({"status": "ok"})


@router.get(
    "/v1/limits",
    operation_id="get_limits",
    summary="The server's limits",
    dependencies=[accepts(JSON)],
    responses={200: content({"type": "object", "additionalProperties": ref(Limit)}), **problems(406)},
)
async def limits(request: Request) -> JSONResponse:
    """List the limits of requests: name to value and description."""
    return JSONResponse(services_of(request.app).settings.shown_limits())


@router.get(
    "/metrics",
    operation_id="get_metrics",
    summary="Counters for Prometheus",
    dependencies=[accepts("text/plain")],
    response_class=Response,
    responses={
        200: {"description": "Counters.", "content": {"text/plain": {"schema": {"type": "string"}}}},
        **problems(406),
    },
)
async def metrics(request: Request) -> Response:
    """Return counters in Prometheus' text format. The store's counters are left out while it is unavailable."""
    services = services_of(request.app)
    usage, available = None, True

    def look() -> StoreUsage:
        services.store.verify()
        return services.store.usage()

    try:
        usage = await services.lookups.run(look, timeout_s=_USAGE_S)
    except StoreUnavailable:
        available = False
    except TimedOut:
        pass
    return Response(services.metrics.exposition(usage, store_available=available), media_type=CONTENT_TYPE_LATEST)
