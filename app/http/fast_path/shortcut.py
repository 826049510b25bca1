"""The fast path: answers a complete small call without an asyncio task and without ASGI messages.

`app.http.fast_path.connection` calls it before the HTTP parser sees the bytes. Clients repeat the same head, so parsed
heads are cached by their bytes, without the headers that vary from call to call. All other requests take the general
path: the connection's parser and the middleware and routes of `app.main`. Calls that are too long for the event loop
take it too. Both paths use the same modules, and tests compare their answers.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from app.access.control import READ, Claims, permit
from app.access.key_file import ApiKey
from app.access.quotas import CallWindow
from app.errors import ProblemError
from app.evaluation.evaluator import Call
from app.evaluation.operations import OPERATIONS
from app.http.compression import BRIEF, Accepted, accepted, timing
from app.http.exchange import COMMON_LINES, ComputationTimes, Exchange, lines
from app.http.fast_path import head
from app.http.negotiation import negotiated
from app.http.server_timing import server_timing
from app.http.services import Services
from app.wire.codec import Codec

_HEAD = 2048
"""The largest head in bytes: enough for the usual headers of clients and proxies."""

_BODY = 2**16
"""The largest body of a small call in bytes."""

_HEADS = 512
"""The number of cached heads: a megabyte at most, and as much for calls without varying headers."""

_ROUTE = re.compile("/v1/(?:graphs/(?P<graph>[^/]+)/)?(?P<operation>[^/]+)")
"""The path of a call: its operation, and the id of the registered graph, if any."""

Answered = tuple[int, bytes, bytes]
"""A status, the header lines with the empty line after them, and a body."""


@dataclass(frozen=True, slots=True)
class _Parsed:
    """What calls with the same head have in common. `length` is the length of the body."""

    length: int
    path: str
    route: str
    operation: str
    graph: str | None
    reads: Codec
    writes: Codec
    accepted: Accepted
    key: ApiKey | None
    owner: str | None
    window: CallWindow | None


class SmallCall(NamedTuple):
    """A small call. `size` is the size of the whole request, `begin` the offset of its body.

    `varying` has the headers that vary from call to call, by lower-case name.
    """

    size: int
    begin: int
    head: _Parsed
    varying: list[tuple[bytes, bytes]]


class FastPath:
    """Answers the small calls of one application."""

    def __init__(self, services: Services) -> None:
        self._slots, self._store, self._dispatcher = services.slots, services.store, services.dispatcher
        self._metrics, self._access, self._tracing = services.metrics, services.access, services.tracing
        self._callers, self._access_control = services.callers, services.access_control
        self._expiry = services.expiry
        self._most = min(_BODY, services.settings.max_body_bytes)
        self._excluded = {"content-encoding", *(["origin"] if services.settings.cors_origins else [])}
        self._head = lru_cache(_HEADS)(self._parsed)
        self._constant: dict[bytes, SmallCall] = {}
        """Calls without varying headers, by their heads."""
        if self._access_control.keys is not None:
            self._access_control.keys.on_change(self._forget)

    def _forget(self) -> None:
        """Forget the heads, which were let in with keys that may be removed."""
        self._head.cache_clear()
        self._constant.clear()

    def call(self, data: bytes) -> SmallCall | None:
        """Return the small call that begins with these bytes, or None. The bytes must include the whole head."""
        end = data.find(head.END, 0, _HEAD)
        if end < 0:
            return None
        text = data[: end + len(head.END)]
        return self._constant.get(text) or self._with_varying(text)

    def _with_varying(self, text: bytes) -> SmallCall | None:
        """Return the small call of a head, or None. Splitting the head takes 2 us."""
        constant, varying = head.split(text)
        parsed = self._head(constant)
        if parsed is None or len(varying) > len(dict(varying)):
            return None
        call = SmallCall(len(text) + parsed.length, len(text), parsed, varying)
        if not varying:
            if len(self._constant) >= _HEADS:
                self._constant.clear()
            self._constant[text] = call
        return call

    def _parsed(self, text: bytes) -> _Parsed | None:
        """Return the head of a small call, or None."""
        found = head.read(text)
        if found is None or found.method != "POST" or found.length > self._most:
            return None
        headers = found.headers
        route = _ROUTE.fullmatch(found.path)
        if route is None or route["operation"] not in OPERATIONS or headers.keys() & self._excluded:
            return None
        try:
            claims = Claims.of([(name, headers[name]) for name in READ & headers.keys()])
            key = self._access_control.identified(found.path, claims)
            if key is not None:
                permit(key, "POST", found.path)
            reads, writes = negotiated(headers.get("content-type", ""), headers.get("accept", "*/*"))
            coding = accepted(headers.get("accept-encoding", ""))
        except ProblemError:
            return None
        return _Parsed(
            length=found.length,
            path=found.path,
            route=_template(route),
            operation=route["operation"],
            graph=route["graph"],
            reads=reads,
            writes=writes,
            accepted=coding,
            key=key,
            owner=None if key is None else key.name,
            window=None if key is None else self._access_control.window(key),
        )

    def answer(self, call: SmallCall, data: bytes, peer: str) -> Answered | None:
        """Return the answer to a complete request from the address `peer`, or None if it must take the general path."""
        parsed = call.head
        if not (parsed.graph is None or self._store.is_known(parsed.graph, parsed.owner)):
            return None
        if parsed.window is not None and not parsed.window.take():
            return None
        caller = self._callers.of(peer, call.varying) if call.varying else self._callers.constant(peer)
        exchange = Exchange("POST", parsed.path, caller)
        exchange.matched, exchange.key, exchange.window = parsed.route, parsed.key, parsed.window
        try:
            answered = self._computed(parsed, data[call.begin :], exchange)
        except ProblemError as problem:
            answered = _refused(exchange, problem)
        except Exception:  # noqa: BLE001  # it is logged
            answered = _refused(exchange, exchange.failed())
        if answered is not None:
            if parsed.graph is not None:
                self._metrics.looked_up(found=True)
                self._expiry.note(parsed.graph)
            exchange.report(self._metrics, self._access, self._tracing)
        elif parsed.window is not None:
            parsed.window.give_back()
        return answered

    def _computed(self, call: _Parsed, body: bytes, exchange: Exchange) -> Answered | None:
        """Return the answer to a call, or None if it is too long for the event loop. Raises ProblemError.

        A full server refuses the call here, which takes a quarter of the CPU time of the general path.
        """
        self._slots.require_free()
        answer = self._dispatcher.at_once(Call(call.operation, body, call.reads, call.writes, call.graph))
        if answer is None:
            return None
        written, coding, coding_line = bytes(answer.body), call.accepted.coding, ""
        if coding is not None and call.accepted.is_worth(written):
            if len(written) > BRIEF:
                return None
            began = time.perf_counter()
            written = coding.compress(written)
            taken = timing(time.perf_counter() - began)
            coding_line = f"content-encoding: {coding.name}\r\nserver-timing: {taken}\r\n"
        self._metrics.computed(answer.timings)
        exchange.computation = ComputationTimes.of(answer)
        exchange.status = 200
        quota_lines = "" if call.window is None else lines(exchange.quota).decode("ascii")
        trace_line = f"traceresponse: {exchange.trace.response}\r\n" if exchange.trace is not None else ""
        head = (
            f"content-length: {len(written)}\r\ncontent-type: {call.writes.media_type}\r\n"
            f"server-timing: {server_timing(answer)}\r\n{_VARY}{coding_line}"
            f"x-request-id: {exchange.id}\r\nserver-timing: {exchange.timing}\r\n"
            f"{quota_lines}{trace_line}{COMMON_LINES}\r\n"
        )
        return 200, head.encode("ascii"), written


def _template(route: re.Match[str]) -> str:
    """Return the path template of the route, for the metrics."""
    return f"/v1/{route['operation']}" if route["graph"] is None else f"/v1/graphs/{{id}}/{route['operation']}"


_VARY = "vary: Accept, Accept-Encoding\r\n"


def _refused(exchange: Exchange, problem: ProblemError) -> Answered:
    headers, body = exchange.refused(problem)
    return problem.status, lines(exchange.answered(problem.status, headers)) + b"\r\n", body
