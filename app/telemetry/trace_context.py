"""The trace context of a request: the headers `traceparent` and `tracestate`. Source: W3C Trace Context, level 2.

`app.http.caller` reads it. A request with a valid `traceparent` gets its own span id within the client's trace. The
log line and the header `traceresponse` of the reply have both ids. An invalid `traceparent` is ignored, with its
`tracestate`, as section 4.2 says.
"""

from __future__ import annotations

import random
import re
from typing import NamedTuple

_TRACEPARENT = re.compile(
    rb"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<parent>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<rest>-.*)?"
)
"""Versions after 00 may have more fields. Source: section 3.2.2."""

_INVALID_TRACE, _INVALID_PARENT = b"0" * 32, b"0" * 16

_SAMPLED = 0x01


class TraceContext(NamedTuple):
    """The position of a request in a distributed trace. All ids are in lower-case hexadecimal digits.

    `parent_id` is the span of the client, None if the trace begins here, and `span_id` the span of the request.
    `is_sampled` is whether the client records its span, `is_recorded` whether this server records the request's span.
    `state` is the header `tracestate` as it was received.
    """

    trace_id: str
    span_id: str
    parent_id: str | None = None
    is_sampled: bool = False
    is_recorded: bool = False
    state: str = ""

    @property
    def response(self) -> str:
        """The value of the header `traceresponse`. Source: W3C Trace Context HTTP Response Headers Format."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.is_recorded else '00'}"


def read(traceparent: bytes, tracestate: bytes = b"") -> TraceContext | None:
    """Return the context of a request with these headers, or None if `traceparent` is invalid."""
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None:
        return None
    version, trace, parent, flags, rest = found.groups()
    if version == b"ff" or (version == b"00" and rest) or trace == _INVALID_TRACE or parent == _INVALID_PARENT:
        return None
    return TraceContext(
        trace_id=trace.decode("ascii"),
        span_id=new_span_id(),
        parent_id=parent.decode("ascii"),
        is_sampled=bool(int(flags, 16) & _SAMPLED),
        state=tracestate.decode("latin-1"),
    )


_KEY = r"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
_VALUE = r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_MEMBER = re.compile(f"({_KEY})=({_VALUE})")
_MAX_MEMBERS = 32
"""The members of `tracestate`. Source: sections 3.3.1 and 3.3.2."""


def state_members(tracestate: str) -> list[tuple[str, str]]:
    """Return keys and values of a header `tracestate`; none if it is invalid."""
    members = [member for part in tracestate.split(",") if (member := part.strip(" \t"))]
    found = [_MEMBER.fullmatch(member) for member in members]
    pairs = [(member[1], member[2]) for member in found if member is not None]
    is_valid = len(pairs) == len(members) == len(dict(pairs)) and len(pairs) <= _MAX_MEMBERS
    return pairs if is_valid else []


def new_span_id() -> str:
    """Return a random span id. It is not a secret."""
    return f"{random.getrandbits(64) or 1:016x}"
