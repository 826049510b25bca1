"""The server under test: a running one at GRADD_TEST_URL, or this checkout's own, started for the run."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.serving import server


@dataclass(frozen=True)
class Answer:
    """What came back: the status, the media type without its parameters, and the body read as JSON, if it is that."""

    status: int
    media_type: str
    body: Any

    @property
    def trouble(self) -> str:
        """What is wrong with an answer that has no numbers."""
        told = self.body.get("errors") or self.body.get("detail") if isinstance(self.body, dict) else self.body
        return f"answered with {self.status}: {told}"


class Gradd:
    """The server as the suite sees it: the ops that it offers, and answers to requests."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self.offered: frozenset[str] = frozenset(op["name"] for op in self._get("/v1/ops")["ops"])

    def _get(self, path: str) -> Any:
        return self._http.get(path).raise_for_status().json()

    def post(self, path: str, request: Mapping[str, Any]) -> Answer:
        """Send a request and return whatever is answered."""
        body = json.dumps(request, allow_nan=False)
        reply = self._http.post(path, content=body, headers={"content-type": "application/json"})
        media_type = reply.headers.get("content-type", "").partition(";")[0]
        return Answer(reply.status_code, media_type, reply.json() if media_type.endswith("json") else reply.text)


@contextlib.contextmanager
def gradd(log: Path) -> Iterator[Gradd]:
    """Give the server under test; what it prints goes to `log`, if it is started here."""
    with contextlib.ExitStack() as stack:
        address = os.environ.get("GRADD_TEST_URL") or stack.enter_context(server(log))
        # One connection, kept alive, and none of the machine's proxies.
        http = stack.enter_context(httpx.Client(base_url=address, timeout=60, trust_env=False))
        yield Gradd(http)
