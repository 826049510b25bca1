"""The application: settings in, an ASGI app out. Read it from top to bottom to know what the service is made of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import compile_path

from app.compression import Compression
from app.errors import MethodNotAllowed, NotFound, Problem
from app.evaluate import Evaluator
from app.http.fast_path.shortcut import Shortcut
from app.logs import AccessLog
from app.metrics import Metrics
from app.middleware import Admission, BodyBounds, Observation, Places
from app.placement import Placement
from app.pool import Pool
from app.registered import RegisteredGraphs
from app.routes import catalogue, derivatives, docs, graphs, service
from app.schemas.description import COMPONENTS
from app.segments import Segments
from app.settings import Settings
from app.store import Store
from engine.errors import did_you_mean

VERSION = version("gradd")


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the service as an ASGI application."""
    settings = settings or Settings()
    metrics = Metrics()
    access = AccessLog(settings)
    places = Places(settings.concurrency + settings.queue)
    app = FastAPI(
        title="gradd",
        version=VERSION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        middleware=_middleware(settings, metrics, access, places),
        exception_handlers={HTTPException: _refuse},
    )
    app.state.settings = settings
    app.state.metrics = metrics
    app.state.access = access
    app.state.places = places
    app.state.store = Store(settings)
    app.state.graphs = RegisteredGraphs(app.state.store, settings)
    app.state.evaluator = Evaluator(settings, app.state.graphs)
    app.state.pool = Pool(settings.concurrency)
    app.state.segments = Segments(settings.max_body_bytes)
    app.state.placement = Placement(app.state.evaluator, app.state.graphs, settings)
    app.state.shortcut = Shortcut(app.state)
    app.state.ready = False
    for module in (derivatives, graphs, catalogue, service):
        app.include_router(module.router)
    if settings.docs:
        app.include_router(docs.router)
    app.openapi = _openapi(app)  # type: ignore[method-assign]
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.placement.workers.start()
    app.state.ready = True
    yield
    app.state.ready = False
    app.state.placement.workers.close()
    app.state.segments.close()
    app.state.pool.close()
    app.state.store.close()
    app.state.access.flush()


def _middleware(settings: Settings, metrics: Metrics, access: AccessLog, places: Places) -> list[Middleware]:
    """Return what surrounds every request, from the outside in."""
    cors = Middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["*"],
        expose_headers=["X-Request-ID", "Retry-After", "Server-Timing", "Location", "ETag"],
    )
    return [
        *([cors] if settings.cors_origins else []),
        Middleware(Observation, metrics=metrics, access=access),
        Middleware(Admission, places=places, retry_after_s=settings.retry_after_s),
        Middleware(BodyBounds, most=settings.max_body_bytes, timeout_s=settings.body_timeout_ms / 1000),
        Middleware(Compression, most=settings.max_body_bytes),
    ]


async def _refuse(request: Request, error: Exception) -> Response:
    """Turn the router's own refusals into problems."""
    assert isinstance(error, HTTPException)
    raise _problem(request, error) from None


def _problem(request: Request, error: HTTPException) -> Problem:
    path = request.url.path[:200]
    if error.status_code == 405:
        allowed = ", ".join(_methods(request)) or (error.headers or {}).get("Allow", "")
        return MethodNotAllowed(f"{path} takes {allowed}, not {request.method}.", headers={"Allow": allowed})
    known = ["/docs", *request.app.openapi()["paths"]]
    return NotFound(f"There is nothing at {path}.", hint=did_you_mean(path, known))


def _methods(request: Request) -> list[str]:
    """Return the methods that are described for the path: those of all its routes, of which the router names one's."""
    described = request.app.openapi()["paths"].items()
    matching = (methods for path, methods in described if compile_path(path)[0].fullmatch(request.scope["path"]))
    return sorted(method.upper() for methods in matching for method in methods)


def _openapi(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """Return what describes the API: the routes as FastAPI sees them, the schemas that requests are read with."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            described = get_openapi(
                title="gradd",
                version=VERSION,
                summary="A gradient server.",
                description="POST a graph of tensors and ops, get outputs, gradients and the DAG.",
                routes=app.routes,
            )
            described["components"] = {"schemas": COMPONENTS}
            app.openapi_schema = described
        return app.openapi_schema

    return describe
