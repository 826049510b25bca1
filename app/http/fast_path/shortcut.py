"""The fast path: answers a small call that has arrived whole, without a task and without messages between layers.

The connection calls it before the HTTP parser sees the bytes. Clients send the same head again and again, so parsed
heads are cached by their bytes. A request that is not plainly a small call, or that the event loop should not compute,
takes the general path from its beginning: the connection's parser and all of `app.main`. Both paths are made of the
same parts, and tests compare their answers.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from functools import lru_cache

from app.errors import ProblemError
from app.evaluation.evaluator import Call
from app.evaluation.operations import OPERATIONS
from app.http.compression import BRIEF, Accepted, accepted, timing
from app.http.exchange import COMMON_LINES, Exchange, lines
from app.http.fast_path import head
from app.http.negotiation import negotiated
from app.http.server_timing import server_timing
from app.http.services import Services
from app.wire.codec import Codec

_HEAD = 2048
"""Bytes of a head that are looked at: enough for the headers that clients and proxies send."""

_BODY = 2**16
"""Bytes of a body that a call is small with."""

_HEADS = 512
"""Heads that are kept: a megabyte at most."""

_ROUTE = re.compile("/v1/(?:graphs/(?P<graph>[^/]+)/)?(?P<operation>[^/]+)")
"""The path of a call: its operation, and the id of the registered graph that it calls, if any."""

Answered = tuple[int, bytes, bytes]
"""A status, headers as they are sent, with the empty line after them, and a body."""


@dataclass(frozen=True, slots=True)
class SmallCall:
    """What a head asks for. `size` is that of the whole request, `begin` where its body begins."""

    size: int
    begin: int
    request_id: str
    path: str
    route: str
    operation: str
    graph: str | None
    reads: Codec
    writes: Codec
    accepted: Accepted


class FastPath:
    """Answers small calls of one application."""

    def __init__(self, services: Services) -> None:
        self._places, self._store, self._placement = services.places, services.store, services.placement
        self._metrics, self._access = services.metrics, services.access
        self._most = min(_BODY, services.settings.max_body_bytes)
        self._left_alone = {"content-encoding", *(["origin"] if services.settings.cors_origins else [])}
        self._call = lru_cache(_HEADS)(self._asked)

    def call(self, data: bytes) -> SmallCall | None:
        """Return the call that begins with these bytes, if it is a small one and its head is there."""
        end = data.find(head.END, 0, _HEAD)
        return None if end < 0 else self._call(data[: end + len(head.END)])

    def _asked(self, text: bytes) -> SmallCall | None:
        """Return what a head asks for."""
        found = head.read(text)
        if found is None or found.method != "POST" or found.length > self._most:
            return None
        headers = found.headers
        route = _ROUTE.fullmatch(found.path)
        if route is None or route["operation"] not in OPERATIONS or headers.keys() & self._left_alone:
            return None
        try:
            reads, writes = negotiated(headers.get("content-type", ""), headers.get("accept", "*/*"))
            coding = accepted(headers.get("accept-encoding", ""))
        except ProblemError:
            return None
        return SmallCall(
            size=len(text) + found.length,
            begin=len(text),
            request_id=headers.get("x-request-id", ""),
            path=found.path,
            route=_template(route),
            operation=route["operation"],
            graph=route["graph"],
            reads=reads,
            writes=writes,
            accepted=coding,
        )

    def answer(self, call: SmallCall, data: bytes) -> Answered | None:
        """Return the answer to a whole request, or None where it has to go the general way."""
        if not self._places.is_free or not (call.graph is None or self._store.is_known(call.graph)):
            return None
        exchange = Exchange("POST", call.path, call.request_id)
        exchange.route = call.route
        try:
            answered = self._computed(call, data[call.begin :], exchange)
        except ProblemError as problem:
            answered = _refused(exchange, problem)
        except Exception:  # noqa: BLE001  # it is logged
            answered = _refused(exchange, exchange.failed())
        if answered is not None:
            if call.graph is not None:
                self._metrics.looked_up(found=True)
            exchange.report(self._metrics, self._access)
        return answered

    def _computed(self, call: SmallCall, body: bytes, exchange: Exchange) -> Answered | None:
        """Return the answer to a call, or None where the event loop should not work that long. Raises Problem."""
        answer = self._placement.at_once(Call(call.operation, body, call.reads, call.writes, call.graph))
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
        exchange.status = 200
        head = (
            f"content-length: {len(written)}\r\ncontent-type: {call.writes.media_type}\r\n"
            f"server-timing: {server_timing(answer)}\r\n{_VARY}{coding_line}"
            f"x-request-id: {exchange.id}\r\nserver-timing: {exchange.timing}\r\n{COMMON_LINES}\r\n"
        )
        return 200, head.encode("ascii"), written


def _template(route: re.Match[str]) -> str:
    """Return the path as the router writes it, for the counters."""
    return f"/v1/{route['operation']}" if route["graph"] is None else f"/v1/graphs/{{id}}/{route['operation']}"


_VARY = "vary: Accept, Accept-Encoding\r\n"


def _refused(exchange: Exchange, problem: ProblemError) -> Answered:
    headers, body = exchange.refused(problem)
    return problem.status, lines(exchange.answered(problem.status, headers)) + b"\r\n", body
