"""The exceptions of the service. Each becomes a problem document.

    ProblemError                 RFC 9457: type, title, status, detail, code, request_id, errors
    ├── MalformedHttp       400  the bytes are not an HTTP/1.1 request
    ├── UnknownCoding       400  a transfer coding other than chunked
    ├── CrossOriginRefused  400  a page of another origin may not make this request
    ├── BadBody             400  the body is not JSON or MessagePack, or repeats a key
    ├── Unauthenticated     401  the request has no known key
    ├── Forbidden           403  the key does not have the permission
    ├── ForeignOrigin       403  the page that sends the request is of another origin
    ├── NotFound            404
    ├── MethodNotAllowed    405
    ├── NotAcceptable       406
    ├── SlowHeaders         408  the request's line and headers took too long to arrive
    ├── SlowBody            408  the body took too long to arrive
    ├── BodyTooLarge        413
    ├── UnsupportedMedia    415
    ├── UnknownHost         421  the service has no such host name
    ├── InvalidRequest      422  invalid members, each with its pointer
    ├── QuotaExceeded       429  a quota of the key is used up
    ├── OverQuota           429  the limit of registered graphs is reached
    ├── HeadersTooLarge     431
    ├── ClientGone          499  the client closed the connection; in logs and metrics only
    ├── Unexpected          500  a defect of the service; the log has the details, with the request's id
    ├── Busy                503  no slot is free
    ├── StoreUnavailable    503  registered graphs cannot be read or written
    └── TimedOut            504  the deadline passed

The codecs and the evaluation raise them. The middleware, the fast path, the protocol and the command line show them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

import orjson

from engine import Fault, Path

MEDIA_TYPE = "application/problem+json"


class ProblemError(Exception):
    """Base class of all problems. Subclasses define the status, the code, the title and the hint.

    Without `faults`, the problem has one fault for the whole request, with `hint` or the class's hint.
    """

    status = 500
    code = "internal_error"
    title = "Internal error"
    hint = "Send the request again; if that fails too, tell the operator of the server the request's id."

    def __init__(
        self, detail: str, faults: Iterable[Fault] = (), *, hint: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.faults = tuple(faults) or (Fault((), self.code, detail, hint or self.hint),)
        self.headers = dict(headers or {})

    def document(self, request_id: str | None) -> dict[str, Any]:
        """Return the problem document's members."""
        return {
            "type": f"urn:gradd:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "request_id": request_id,
            "errors": [_error(fault) for fault in self.faults],
        }

    def body(self, request_id: str | None) -> bytes:
        """Return the problem document as JSON."""
        return orjson.dumps(self.document(request_id))

    def packed(self) -> dict[str, Any]:
        """Return the problem as plain data, for another process."""
        faults = [[fault.path, fault.code, fault.detail, fault.hint] for fault in self.faults]
        kind = {"status": self.status, "code": self.code, "title": self.title}
        return {**kind, "detail": self.detail, "faults": faults, "headers": self.headers}

    @staticmethod
    def unpacked(members: Mapping[str, Any]) -> ProblemError:
        """Return the problem from the data of `packed`."""
        faults = [Fault(tuple(path), *words) for path, *words in members["faults"]]
        problem = ProblemError(members["detail"], faults, headers=members["headers"])
        problem.status, problem.code, problem.title = members["status"], members["code"], members["title"]
        return problem


class MalformedHttp(ProblemError):
    """The received bytes are not an HTTP/1.1 request."""

    status, code, title = 400, "malformed_http", "The bytes are not an HTTP request"
    hint = "Send HTTP/1.1 without TLS; behind https:// stands a proxy that ends TLS."


class CrossOriginRefused(ProblemError):
    """A preflight request from an origin that is not allowed."""

    status, code, title = 400, "cross_origin", "Not allowed to pages of that origin"
    hint = "The operator names the origins whose pages may call the service in GRADD_CORS_ORIGINS."


class BadBody(ProblemError):
    """The body cannot be read. The code is the fault's code: `malformed_json`, `duplicate_key`, `nested_too_deep`."""

    status, title = 400, "The body cannot be read"

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.detail, [fault])
        self.code = fault.code


class Unauthenticated(ProblemError):
    """The request has no key, or a key that is not known. `challenge` is the header WWW-Authenticate."""

    status, code, title = 401, "unauthenticated", "A key is needed"
    hint = "Send a key of this server in the header: Authorization: Bearer KEY."

    def __init__(self, detail: str, challenge: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": challenge})


class Forbidden(ProblemError):
    """The key does not have the permission for the request."""

    status, code, title = 403, "forbidden", "The key may not do this"
    hint = "Use a key that has the permission; the operator gives it with gradd keys add."

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": 'Bearer error="insufficient_scope"'})


class ForeignOrigin(ProblemError):
    """A request from a web page of an origin that is not allowed."""

    status, code, title = 403, "foreign_origin", "Not allowed to pages of that origin"
    hint = "The operator names the origins whose pages may call the service in GRADD_CORS_ORIGINS."


class NotFound(ProblemError):
    """No resource has the path."""

    status, code, title = 404, "not_found", "Not found"
    hint = "GET /openapi.json lists every path."


class MethodNotAllowed(ProblemError):
    """The resource does not support the method."""

    status, code, title = 405, "method_not_allowed", "Method not allowed"
    hint = "Use a method that the header Allow names."


class NotAcceptable(ProblemError):
    """The resource has no representation that the client accepts."""

    status, code, title = 406, "not_acceptable", "Not acceptable"
    hint = "Accept one of the media types that the resource has, or leave the header out."


class SlowHeaders(ProblemError):
    """The request's line and headers did not arrive in time."""

    status, code, title = 408, "slow_headers", "The request's headers took too long to arrive"
    hint = "Send the request's line and headers without pausing."


class SlowBody(ProblemError):
    """The body did not arrive in time."""

    status, code, title = 408, "slow_body", "The body took too long to arrive"
    hint = "Send the whole body without pausing."


class BodyTooLarge(ProblemError):
    """The body is larger than the server's limit."""

    status, code, title = 413, "body_too_large", "The body is too large"
    hint = "Send less at once: fewer values, base64 or a smaller dtype. GET /v1/limits has the limit."


class UnsupportedMedia(ProblemError):
    """The server does not support the body's media type, character set or content coding."""

    status, code, title = 415, "unsupported_media_type", "Unsupported media type"
    hint = "Send a body of a kind that the headers Accept and Accept-Encoding name."


class UnknownHost(ProblemError):
    """The header Host has a name that is not the service's. The client meant another server, or the DNS lies."""

    status, code, title = 421, "unknown_host", "The service has no such name"
    hint = "Use the service's address, or let the operator name this host in GRADD_ALLOWED_HOSTS."


class InvalidRequest(ProblemError):
    """The body can be read, but some of its members are invalid."""

    status, code, title = 422, "invalid_request", "The request is not valid"

    def __init__(self, faults: Iterable[Fault]) -> None:
        listed = tuple(faults)
        first = listed[0].detail
        super().__init__(first if len(listed) == 1 else f"{len(listed)} faults; the first: {first}", listed)


class OverQuota(ProblemError):
    """The limit of registered graphs is reached. Deleting a graph frees space."""

    status, code, title = 429, "over_quota", "Over quota"
    hint = "DELETE graphs that nobody calls any more, or come again later."

    def __init__(self, detail: str, retry_after_s: int) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_s)})


class QuotaExceeded(ProblemError):
    """A quota of the key is used up: calls in a time, registered graphs or their bytes."""

    status, code, title = 429, "quota_exceeded", "A quota of the key is used up"
    hint = (
        "Come again after as many seconds as the header Retry-After says, or DELETE graphs that nobody calls any more."
    )

    def __init__(self, detail: str, headers: Mapping[str, str]) -> None:
        super().__init__(detail, headers=headers)


def quota_headers(quota: str, most: int, left: int, retry_after_s: int, window_s: int | None = None) -> dict[str, str]:
    """Return the headers of a quota that is used up. Source: draft-ietf-httpapi-ratelimit-headers-10, sections 3, 4."""
    window, reset = ("", "") if window_s is None else (f";w={window_s}", f";t={retry_after_s}")
    return {
        "Retry-After": str(retry_after_s),
        "RateLimit-Policy": f'"{quota}";q={most}{window}',
        "RateLimit": f'"{quota}";r={left}{reset}',
    }


class HeadersTooLarge(ProblemError):
    """The request's line and headers are larger than the server's limit."""

    status, code, title = 431, "headers_too_large", "The request's headers are too large"
    hint = "Send fewer or shorter headers; what is to be computed belongs in the body."


class ClientGone(ProblemError):
    """The client closed the connection before the answer."""

    status, code, title = 499, "client_gone", "The client is gone"
    hint = "Keep the connection open until the answer is there."


class Unexpected(ProblemError):
    """The service failed. Only the log has the details."""


class UnknownCoding(ProblemError):
    """The body has a transfer coding other than chunked.

    RFC 9112, section 6.1, suggests 501. The contract allows clients no 5xx but 503 and 504.
    """

    status, code, title = 400, "unknown_transfer_coding", "The transfer coding is not known"


class Busy(ProblemError):
    """No slot or no memory is free for the request. The client may retry after some seconds."""

    status, code, title = 503, "busy", "The server is full"
    hint = "Come again after as many seconds as the header Retry-After says."

    def __init__(self, detail: str, retry_after_s: int) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_s)})


class StoreUnavailable(ProblemError):
    """The store of registered graphs cannot be read or written. The log has the reason."""

    status, code, title = 503, "store_unavailable", "The store is not available"
    hint = "Come again after as many seconds as the header Retry-After says, or send the graph with every call."

    def __init__(self, detail: str, retry_after_s: int) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_s)})


class TimedOut(ProblemError):
    """The request exceeded its deadline."""

    status, code, title = 504, "deadline_exceeded", "The deadline passed"
    hint = "Ask for less at once, or for more time with `timeout_ms` up to the server's limit."


def pointer(path: Path) -> str:
    """Return the JSON pointer of a path, as a URI fragment: `#/graph/ops/3`. Source: RFC 6901, sections 3 and 6."""
    tokens = (str(token).replace("~", "~0").replace("/", "~1") for token in path)
    return "#" + "".join(f"/{quote(token, safe=_FRAGMENT)}" for token in tokens)


_FRAGMENT = "!$&'()*+,;=:@/?-._~"


def _error(fault: Fault) -> dict[str, str]:
    return {"pointer": pointer(fault.path), "code": fault.code, "detail": fault.detail, "hint": fault.hint}
