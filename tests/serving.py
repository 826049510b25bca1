"""The service as a process of its own, for the suites that look at it from outside: the documentation page in a
browser, the container image, a fresh clone. Each of them waits for a server to answer, posts PyTorch's tutorial graph
and checks the gradients against their formula, so these three things are here once.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np

PATIENCE_S = 240
"""Seconds that tests wait for a server at most, below pytest's own limit: an answer is awaited, however busy it is."""

CHECKOUT = Path(__file__).resolve().parent.parent

# https://docs.pytorch.org/tutorials/beginner/basics/autogradqs_tutorial.html, with fixed numbers for its random ones.
TUTORIAL_GRAPH: dict[str, Any] = {
    "tensors": {
        "x": [1, 1, 1, 1, 1],
        "y": [0, 0, 0],
        "w": {
            "data": [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9], [-1.0, -1.1, -1.2], [-1.3, -1.4, -1.5]],
            "requires_grad": True,
        },
        "b": {"data": [0.5, 0.1, 0.2], "requires_grad": True},
    },
    "ops": [
        {"op": "matmul", "inputs": ["x", "w"], "output": "xw"},
        {"op": "add", "inputs": ["xw", "b"], "output": "z"},
        {"op": "binary_cross_entropy_with_logits", "inputs": ["z", "y"], "output": "loss"},
    ],
}


def tutorial_gradients(graph: dict[str, Any]) -> dict[str, Any]:
    """Gradients of the mean binary cross entropy of `x @ w + b`: (sigmoid(z) - y) / n for b, outer(x, that) for w."""

    def values(name: str) -> Any:
        tensor = graph["tensors"][name]
        return np.array(tensor["data"] if isinstance(tensor, dict) else tensor, dtype=np.float64)

    z = values("x") @ values("w") + values("b")
    b = (1 / (1 + np.exp(-z)) - values("y")) / z.size
    return {"w": np.outer(values("x"), b), "b": b}


def check_tutorial_gradients(graph: dict[str, Any], gradients: dict[str, Any]) -> None:
    """Assert that a reply's `gradients` to the tutorial's `graph` are the right ones, in shape and in value."""
    expected = tutorial_gradients(graph)
    assert set(gradients) == set(expected)
    for name, value in expected.items():
        assert gradients[name]["shape"] == list(value.shape)
        np.testing.assert_allclose(np.array(gradients[name]["data"]), value, rtol=1e-6)


def post_tutorial(base_url: str) -> None:
    """Post the tutorial's graph to a running server and check what it answers."""
    reply = httpx.post(f"{base_url}/v1/gradients", json={"graph": TUTORIAL_GRAPH}, trust_env=False, timeout=PATIENCE_S)
    assert reply.status_code == 200, reply.text
    check_tutorial_gradients(TUTORIAL_GRAPH, reply.json()["gradients"])


def free_port() -> int:
    """A TCP port on the loopback that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_live(
    base_url: str, *, seconds: float, alive: Callable[[], bool] = lambda: True, path: str = "/health/live"
) -> None:
    """Return when the server at `base_url` says that it is live; fail after `seconds`, or when `alive` says no."""
    end = time.monotonic() + seconds
    problem = "it was not asked"
    while time.monotonic() < end:
        assert alive(), f"the server ended before it answered at {base_url}"
        try:
            reply = httpx.get(f"{base_url}{path}", trust_env=False, timeout=PATIENCE_S)
            if reply.status_code == 200:
                return
            problem = f"status {reply.status_code}"
        except httpx.TransportError as error:
            problem = repr(error)
        time.sleep(0.1)
    raise AssertionError(f"no server answered at {base_url} within {seconds} s: {problem}")


@contextlib.contextmanager
def process(command: Sequence[str], *, cwd: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` in a process group of its own with its output in `log`; whatever is left of it ends afterwards."""
    with log.open("wb") as output:
        running = subprocess.Popen(
            command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield running
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            running.wait()


@contextlib.contextmanager
def server(log: Path) -> Iterator[str]:
    """Serve this checkout on a free port of the loopback; gives the root of its addresses."""
    port = free_port()
    base_url = f"http://127.0.0.1:{port}"
    with process([sys.executable, "-m", "app", "serve", "--port", str(port)], cwd=CHECKOUT, log=log) as running:
        wait_until_live(base_url, seconds=PATIENCE_S, alive=lambda: running.poll() is None)
        yield base_url
        running.send_signal(signal.SIGTERM)
        running.wait(timeout=PATIENCE_S)
