"""A server beside a model: a dict of the registered graphs, through registrations, calls, deletions and restarts.

`make test` runs few random sequences of steps; `make fuzz` runs many of them.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urljoin

import httpx
import orjson
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from app.evaluation.evaluator import Evaluator
from app.graphs import registration
from app.settings import Settings
from app.wire.codec import JSON
from tests.app.http.test_server import serving
from tests.promises import traffic
from tests.serving import PATIENCE_S, wait_until_live

STEPS = 20
RESTARTS = 3
"""The most restarts of a sequence: one takes as long as a hundred other steps."""
SEQUENCES = 2

GRAPHS = st.integers(0, 11)
"""Seeds of graphs: few, so that a graph is often registered, called and deleted again."""


class Life:
    """A server that is stopped and started again on one store."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._running = ExitStack()
        self.start(inline_ms=1)

    def start(self, inline_ms: int) -> None:
        self.process, words = self._running.enter_context(
            serving(store=self._store, inline_ms=inline_ms, log_level="warning", concurrency=1)
        )
        base_url = urljoin(words[1], "/").rstrip("/")
        wait_until_live(base_url, seconds=PATIENCE_S, path="/health/ready")
        self.http = self._running.enter_context(httpx.Client(base_url=base_url, timeout=PATIENCE_S, trust_env=False))

    def stop(self, how: signal.Signals) -> None:
        self.process.send_signal(how)
        self.process.wait(PATIENCE_S)
        self._running.close()

    def close(self) -> None:
        self._running.close()


class RegisteredGraphs(RuleBasedStateMachine):
    """`known` has the registered graphs by seed, with their ids. The server knows no other graph."""

    def __init__(self, life: Life) -> None:
        super().__init__()
        self._life = life
        self._evaluator = Evaluator(Settings())
        self._ids: dict[int, str] = {}
        self._restarts = 0
        self.known: dict[int, traffic.Registered] = {}

    def _body(self, seed: int) -> traffic.Body:
        return traffic.registration(random.Random(seed))

    def _registered(self, seed: int) -> traffic.Registered:
        """Return the graph of a seed with the id that the library gives it."""
        body = self._body(seed)
        if seed not in self._ids:
            kept, _ = registration.read(orjson.dumps({"graph": body}), JSON, Settings(), None)
            self._ids[seed] = kept.id
        return traffic.Registered(self._ids[seed], body)

    @rule(seed=GRAPHS)
    def register(self, seed: int) -> None:
        reply = self._life.http.post("/v1/graphs", json={"graph": self._body(seed)})
        assert reply.status_code == (200 if seed in self.known else 201), reply.text
        self.known[seed] = self._registered(seed)
        assert reply.json()["id"] == self.known[seed].id

    @rule(seed=GRAPHS, values=st.integers(0, 100))
    def call(self, seed: int, values: int) -> None:
        graph = self._registered(seed)
        call, inline = graph.call(random.Random(values))
        reply = self._life.http.post(f"/v1/graphs/{graph.id}/gradients", json=call)
        if seed in self.known:
            assert (reply.status_code, reply.content) == traffic.alone(self._evaluator, "gradients", inline)
        else:
            assert (reply.status_code, reply.json()["code"]) == (404, "not_found")

    @rule(seed=GRAPHS)
    def read(self, seed: int) -> None:
        graph = self._registered(seed)
        reply = self._life.http.get(f"/v1/graphs/{graph.id}")
        assert reply.status_code == (200 if seed in self.known else 404), reply.text
        if seed in self.known:
            shown = orjson.dumps({"graph": reply.json()["graph"]})
            assert registration.read(shown, JSON, Settings(), None)[0].id == graph.id

    @rule(seed=GRAPHS)
    def delete(self, seed: int) -> None:
        reply = self._life.http.delete(f"/v1/graphs/{self._registered(seed).id}")
        assert reply.status_code == (204 if seed in self.known else 404), reply.text
        self.known.pop(seed, None)

    @precondition(lambda self: self._restarts < RESTARTS)
    @rule(how=st.sampled_from([signal.SIGTERM, signal.SIGKILL]), inline_ms=st.sampled_from([0, 1, 1000]))
    def restart(self, how: signal.Signals, inline_ms: int) -> None:
        self._restart(how, inline_ms)

    def _restart(self, how: signal.Signals, inline_ms: int) -> None:
        self._restarts += 1
        self._life.stop(how)
        self._life.start(inline_ms)

    @precondition(lambda self: self._restarts < RESTARTS)
    @rule(seeds=st.sets(GRAPHS, min_size=2, max_size=6), after=st.integers(0, 4))
    def kill_while_registering(self, seeds: set[int], after: int) -> None:
        """Kill the server after some answers. What it answered is there; the rest is there whole, or not at all."""
        with ThreadPoolExecutor(len(seeds)) as pool:
            answers = {seed: pool.submit(self._try, seed) for seed in sorted(seeds)}
            for future in list(answers.values())[:after]:
                future.result()
            self._life.process.kill()
            statuses = {seed: future.result() for seed, future in answers.items()}
        self._restart(signal.SIGKILL, inline_ms=1)
        for seed, status in statuses.items():
            graph = self._registered(seed)
            found = self._life.http.get(f"/v1/graphs/{graph.id}").status_code
            assert status in {None, 200 if seed in self.known else 201}
            assert found == 200 or (found == 404 and status is None and seed not in self.known)
            if found == 200:
                self.known[seed] = graph

    def _try(self, seed: int) -> int | None:
        """Register a graph; return the status, or None if there was no answer."""
        try:
            return self._life.http.post("/v1/graphs", json={"graph": self._body(seed)}).status_code
        except httpx.TransportError:
            return None

    @invariant()
    def nothing_is_lost(self) -> None:
        metrics = self._life.http.get("/metrics").text
        assert f"gradd_graphs {float(len(self.known))}" in metrics.splitlines()

    def teardown(self) -> None:
        for graph in self.known.values():
            assert self._life.http.delete(f"/v1/graphs/{graph.id}").status_code == 204


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    life = Life(tmp_path / "graphs.sqlite")
    yield life
    life.close()


def compare(life: Life, sequences: int) -> None:
    """Run random sequences of steps on the server and on the model."""
    run_state_machine_as_test(
        lambda: RegisteredGraphs(life),  # type: ignore[arg-type]  # any callable will do
        settings=settings(max_examples=sequences, stateful_step_count=STEPS, deadline=None),
    )


@pytest.mark.timeout(1200)
def test_the_server_is_its_model(life: Life) -> None:
    compare(life, SEQUENCES)
