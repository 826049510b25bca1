"""Cross-origin requests (CORS): Starlette's middleware, with refusals as problem documents. `app.main` installs it."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import CrossOriginRefused, ProblemError
from app.http.middleware import Observation
from app.telemetry.logs import AccessLog
from app.telemetry.metrics import Metrics


class CrossOrigin(CORSMiddleware):
    """Answers preflight requests, and adds the CORS headers to replies. Source: Fetch standard, section 3.3."""

    def __init__(self, app: ASGIApp, origins: Sequence[str], metrics: Metrics, access: AccessLog) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["X-Request-ID", "Retry-After", "Server-Timing", "Location", "ETag"],
        )
        self._metrics, self._access = metrics, access

    def preflight_response(self, request_headers: Headers) -> Response:
        """Return the answer to a preflight request."""
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        headers = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
        problem = CrossOriginRefused(f"{bytes(response.body).decode()}.", headers=headers)
        return _Refusal(Observation(_raising(problem), self._metrics, self._access))


def _raising(problem: ProblemError) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
        raise problem

    return app


class _Refusal(Response):
    """A refused preflight request. `Observation` counts and logs it."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__()
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the refusal."""
        await self._app(scope, receive, send)
