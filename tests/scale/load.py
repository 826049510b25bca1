"""Clients that call without a pause, and hold every reply to the bytes that it has to have."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

from app.evaluation.operations import OPERATIONS
from app.routes.examples.registered import CALLS_OF_LAYER, GRAPHS, REGISTERED_ID
from tests.serving import PATIENCE_S, TUTORIAL_GRAPH

REGISTRATION: dict[str, Any] = GRAPHS["layer"]["value"]

RETRIED = {502, 503}
"""Statuses after which a client comes again."""


@dataclass(frozen=True, slots=True)
class Call:
    """A POST request."""

    path: str
    body: bytes

    @staticmethod
    def of(path: str, members: Any) -> Call:
        return Call(path, json.dumps(members).encode())


def calls() -> list[Call]:
    """Return calls of every derivative, inline and of the graph of REGISTRATION, and some that workers compute."""
    weights = np.random.default_rng(7).standard_normal((200, 200)).tolist()
    product = {
        "tensors": {"a": {"data": weights, "requires_grad": True}},
        "ops": [
            {"op": "matmul", "inputs": ["a", "a"], "output": "b"},
            {"op": "tanh", "inputs": ["b"], "output": "c"},
            {"op": "matmul", "inputs": ["c", "a"], "output": "d"},
            {"op": "sum", "inputs": ["d"], "output": "y"},
        ],
    }
    registered = [
        Call.of(f"/v1/graphs/{REGISTERED_ID}/{name}", CALLS_OF_LAYER[name][kind]["value"])
        for name, kind in itertools.product(OPERATIONS, ("sample", "batch"))
    ]
    inline = [Call.of("/v1/gradients", {"graph": TUTORIAL_GRAPH}), Call.of("/v1/forward", {"graph": TUTORIAL_GRAPH})]
    computed = [Call.of(f"/v1/{name}", {"graph": product, "encoding": "base64"}) for name in ("gradients", "forward")]
    return [*inline, *computed, *registered]


class Load:
    """Clients at work. A reply that is not the expected one is wrong; a call without a reply is sent once more."""

    def __init__(self, url: str, expected: dict[Call, bytes]) -> None:
        self._url, self._expected = url, expected
        self._changed = threading.Condition()
        self._stopped = False
        self._turns = itertools.count()
        self.answered = 0
        self.retried: list[str] = []
        self.lost: list[str] = []

    def work(self) -> None:
        """Call until the load is stopped, over one connection as long as it lasts."""
        sequence = list(self._expected)
        with httpx.Client(base_url=self._url, trust_env=False, timeout=PATIENCE_S) as client:
            while not self._stopped:
                call = sequence[next(self._turns) % len(sequence)]
                failure = self._failure(client, call)
                again = self._failure(client, call) if failure else ""
                with self._changed:
                    self.answered += not again
                    self.retried += [failure] if failure else []
                    self.lost += [again] if again else []
                    self._changed.notify_all()

    def _failure(self, client: httpx.Client, call: Call) -> str:
        """Send a call. Return why a client would send it again, or the empty string. Wrong answers are lost calls."""
        try:
            reply = client.post(call.path, content=call.body, headers={"Content-Type": "application/json"})
        except httpx.TransportError as error:
            return f"{call.path}: {error!r}"
        if reply.status_code == 200 and reply.content == self._expected[call]:
            return ""
        if reply.status_code not in RETRIED:
            self.lost.append(f"{call.path}: {reply.status_code} {reply.text[:500]}")
        return f"{call.path}: {reply.status_code} {reply.text[:200]}"

    def more(self, count: int) -> None:
        """Wait until `count` more calls have been answered."""
        with self._changed:
            wanted = self.answered + count
            assert self._changed.wait_for(lambda: self.answered >= wanted, timeout=PATIENCE_S), self.lost

    def stop(self) -> None:
        self._stopped = True


@contextmanager
def load(url: str, expected: dict[Call, bytes], clients: int = 8) -> Iterator[Load]:
    """Put a server under load for the time of the block."""
    made = Load(url, expected)
    threads = [threading.Thread(target=made.work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield made
    finally:
        made.stop()
        for thread in threads:
            thread.join()


def answers(url: str, of: Sequence[Call]) -> dict[Call, bytes]:
    """Return what one server replies to each call."""
    with httpx.Client(base_url=url, trust_env=False, timeout=PATIENCE_S) as client:
        replies = {call: client.post(call.path, content=call.body) for call in of}
    assert {reply.status_code for reply in replies.values()} == {200}, [reply.text[:300] for reply in replies.values()]
    return {call: reply.content for call, reply in replies.items()}
