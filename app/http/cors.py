"""Cross-origin requests (CORS): Starlette's middleware, with refusals as problem documents. `app.main` installs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import CrossOriginRefused, ProblemError


class CrossOrigin(CORSMiddleware):
    """Answers preflight requests, and adds the CORS headers to replies. Source: Fetch standard, section 3.3.

    `observe` returns an application inside the middleware that counts and logs its requests.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str], observe: Callable[[ASGIApp], ASGIApp]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=[
                "X-Request-ID",
                "Retry-After",
                "Server-Timing",
                "Location",
                "ETag",
                "RateLimit",
                "RateLimit-Policy",
                "WWW-Authenticate",
                "traceresponse",
            ],
        )
        self._observe = observe

    def preflight_response(self, request_headers: Headers) -> Response:
        """Return the answer to a preflight request."""
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        headers = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
        problem = CrossOriginRefused(f"{bytes(response.body).decode()}.", headers=headers)
        return _Refusal(self._observe(_raising(problem)))


def _raising(problem: ProblemError) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
        raise problem

    return app


class _Refusal(Response):
    """A refused preflight request, answered by an application that counts and logs it."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__()
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the refusal."""
        await self._app(scope, receive, send)
