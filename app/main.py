"""The application factory: `create_app` builds the ASGI application from the settings. `app.__main__` calls it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from app.access.middleware import AccessControl
from app.evaluation.operations import OPERATIONS
from app.http.compression import Compression
from app.http.cors import CrossOrigin
from app.http.middleware import Admission, BodyBounds, Observation, Pace
from app.http.refusals import refuse
from app.http.services import Services, services_of
from app.routes import catalogue, derivatives, docs, graphs
from app.routes import health as service
from app.schemas.openapi import components, guard
from app.schemas.replies import Health, Limit, OpList, OpPage, Problem, RegisteredGraph, RegistrationReply
from app.schemas.requests import RegistrationRequest
from app.settings import Settings

VERSION = version("gradd")


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the service as an ASGI application. Raises UnusableTracing."""
    services = Services.create(settings or Settings())
    app = FastAPI(
        title="gradd",
        version=VERSION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        middleware=_middleware(services),
        exception_handlers={HTTPException: refuse},
    )
    app.state.services = services
    for module in (derivatives, graphs, catalogue, service):
        app.include_router(module.router)
    if services.settings.docs:
        app.include_router(docs.router)
    app.openapi = _openapi(app)  # type: ignore[method-assign]
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services = services_of(app)
    services.start()
    yield
    services.close()


def _middleware(services: Services) -> list[Middleware]:
    """Return the middleware, from the outside in."""
    settings = services.settings
    observe = partial(
        Observation,
        callers=services.callers,
        metrics=services.metrics,
        access=services.access,
        tracing=services.tracing,
    )
    most = min(settings.max_body_bytes, settings.max_bytes_in_flight, settings.max_client_bytes_in_flight)
    pace = Pace(settings.body_timeout_ms / 1000, settings.header_timeout_ms / 1000, settings.min_body_rate)
    cors = Middleware(CrossOrigin, origins=settings.cors_origins, observe=observe)
    return [
        *([cors] if settings.cors_origins else []),
        Middleware(observe),
        Middleware(AccessControl, access=services.access_control),
        Middleware(BodyBounds, most=most, pace=pace, in_flight=services.in_flight),
        Middleware(Admission, slots=services.slots),
        Middleware(Compression, most=settings.max_body_bytes, timeout_s=settings.timeout_ms / 1000),
    ]


def _openapi(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """Return a function for the OpenAPI document: FastAPI's routes, with the schemas that validate requests."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            described = get_openapi(
                title="gradd",
                version=VERSION,
                summary="A gradient server.",
                description="POST a graph of tensors and ops, get outputs, gradients and the DAG.",
                servers=[{"url": "/"}],
                routes=app.routes,
            )
            described["components"] = {"schemas": components(_models())}
            guard(described, needs_key=services_of(app).access_control.keys is not None)
            app.openapi_schema = described
        return app.openapi_schema

    return describe


def _models() -> Iterator[type[BaseModel]]:
    """Yield the models of requests, replies and problems."""
    for operation in OPERATIONS.values():
        yield from (operation.request, operation.call, operation.reply)
    yield from (RegistrationRequest, RegistrationReply, RegisteredGraph)
    yield from (OpList, OpPage, Health, Limit, Problem)
