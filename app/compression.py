"""Bodies that come compressed are inflated, replies are compressed for clients that accept it.

A plain ASGI class, the innermost of what surrounds a request: inside of it, bodies are what they were before they were
compressed. Contract, section 7.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.accept import weights
from app.codings import CODINGS, Coding
from app.errors import NotAcceptable, UnsupportedMedia

MIN_SIZE = 1400
"""Bytes of a reply below which compressing saves no packet."""

BRIEF = 2**16
"""Bytes that are worked on at once, on the event loop: at most 2 ms, while a thread takes 0.1 ms to be handed work."""

_WORTHWHILE = 0.9
"""A reply whose beginning compresses to more than this part is sent as it is: raw floating numbers are such."""

_ALIASES = {"x-gzip": "gzip"}
"""Source: RFC 9110, section 8.4.1.3."""

_READ = {b"accept-encoding", b"content-encoding"}


class Compression:
    """Inflates bodies up to `most` bytes and compresses replies."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on. Raises NotAcceptable, UnsupportedMedia; as its body is read, BadBody, BodyTooLarge."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"] if name in _READ}
        reply = _Reply(send, accepted(headers.get(b"accept-encoding", "")))
        coding = _sent(headers.get(b"content-encoding", ""))
        if coding is not None:
            scope, receive = _without_coding(scope), self._inflated(coding, receive)
        await self.app(scope, receive, reply.send)

    def _inflated(self, coding: Coding, receive: Receive) -> Receive:
        """Return a `receive` that gives the inflated body as one message, then what comes after it."""
        complete = False

        async def inflated() -> Message:
            nonlocal complete
            if complete:
                return await receive()
            parts: list[bytes] = []
            while not complete:
                message = await receive()
                if message["type"] != "http.request":
                    return message
                parts.append(message.get("body", b""))
                complete = not message.get("more_body", False)
            body = b"".join(parts)
            return {"type": "http.request", "body": await asyncio.to_thread(coding.inflate, body, self.most)}

        return inflated


def _sent(header: str) -> Coding | None:
    """Return the coding of a body, None where it has none. Raises UnsupportedMedia."""
    name = header.strip().lower()
    if name in {"", "identity"}:
        return None
    coding = CODINGS.get(_ALIASES.get(name, name))
    if coding is None:
        known = ", ".join(CODINGS)
        detail = f"`Content-Encoding: {header[:200]}` is not read here; bodies may have one of {known}."
        raise UnsupportedMedia(detail, headers={"Accept-Encoding": known})
    return coding


def _without_coding(scope: Scope) -> Scope:
    kept = [(name, value) for name, value in scope["headers"] if name not in {b"content-encoding", b"content-length"}]
    return {**scope, "headers": kept}


@dataclass(frozen=True, slots=True)
class Accepted:
    """The coding that a client likes best, None where it likes none, and whether it insists on one."""

    coding: Coding | None
    insists: bool = False

    def is_worth(self, body: bytes) -> bool:
        """Whether a reply is compressed."""
        if self.coding is None or not body:
            return False
        return self.insists or (len(body) >= MIN_SIZE and _pays(self.coding, body))


def _pays(coding: Coding, body: bytes) -> bool:
    return len(body) <= BRIEF or len(coding.compress(body[:BRIEF])) < _WORTHWHILE * BRIEF


@lru_cache(256)
def accepted(header: str) -> Accepted:
    """Return what an Accept-Encoding header asks for. Raises NotAcceptable.

    Source: RFC 9110, section 12.5.3.
    """
    given = weights(header)
    given.update({name: given[alias] for alias, name in _ALIASES.items() if alias in given and name not in given})
    liked = {name: given.get(name, given.get("*", 0.0)) for name in CODINGS}
    plain = given.get("identity", given.get("*", _LEAST))
    best = max(liked, key=liked.__getitem__)
    if liked[best] > 0 and liked[best] >= given.get("identity", 0.0):
        return Accepted(CODINGS[best], plain <= 0)
    if plain > 0:
        return Accepted(None)
    detail = f"This resource comes as it is or as {' or '.join(CODINGS)}, which `Accept-Encoding: {header}` leaves out."
    raise NotAcceptable(detail[:400], hint="Accept `identity`, or leave Accept-Encoding out.")


_LEAST = 0.001
"""The weight of a reply as it is where the client says nothing of it."""


def vary(headers: list[tuple[bytes, bytes]]) -> None:
    """Say that a reply depends on what the client accepts."""
    for index, (name, value) in enumerate(headers):
        if name == b"vary":
            headers[index] = (name, value + b", Accept-Encoding")
            return
    headers.append((b"vary", b"Accept-Encoding"))


def relabel(headers: MutableHeaders, coding: Coding, size: int) -> None:
    """Say in a reply's headers that it is compressed, to so many bytes."""
    headers["Content-Encoding"] = coding.name
    headers["Content-Length"] = str(size)
    if "etag" in headers and not headers["etag"].startswith("W/"):
        headers["ETag"] = f"W/{headers['etag']}"


class _Reply:
    """One reply on its way out."""

    def __init__(self, send: Send, asked: Accepted) -> None:
        self._send, self._asked = send, asked
        self._start: Message | None = None

    async def send(self, message: Message) -> None:
        """Pass a message on; the first one waits for the body, which decides about its headers."""
        if message["type"] == "http.response.start":
            vary(message["headers"])
            self._start = message
            return
        if self._start is not None:
            start, self._start = self._start, None
            message = await self._compressed(start, message)
            await self._send(start)
        await self._send(message)

    async def _compressed(self, start: Message, message: Message) -> Message:
        """Return the body's message, compressed where that is wanted; the headers then say so."""
        headers = MutableHeaders(scope=start)
        body, coding = message.get("body", b""), self._asked.coding
        if coding is None or message.get("more_body") or "content-encoding" in headers:
            return message
        if not self._asked.is_worth(body):
            return message
        compress: Callable[[bytes], bytes] = coding.compress
        body = compress(body) if len(body) <= BRIEF else await asyncio.to_thread(compress, body)
        relabel(headers, coding, len(body))
        return {**message, "body": body}
