"""Scenarios of the service's benchmarks: one entry of `SCENARIOS` each, with the requests to gradd and to its peers.

All requests of a scenario compute the same gradient at the same point. Each has a function that reads the gradient from
its reply, so replies are compared before the first timing. `benchmarks.service.rows` measures the scenarios.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgpack
import numpy as np
import orjson

from app.routes.examples.inline import TUTORIAL
from benchmarks.results import Quantity, Target
from benchmarks.service.client import HttpRequest, sender
from benchmarks.workload import Array

GRADIENTS = "/v1/gradients"
JSON, MSGPACK = "application/json", "application/msgpack"
Read = Callable[[bytes], Array]


@dataclass(frozen=True)
class ScenarioRequest:
    """A request to a contestant's server. `read` returns the gradient in the reply; None if there is no gradient."""

    server: str
    request: HttpRequest
    read: Read | None = None


@dataclass(frozen=True)
class Scenario:
    """A request to gradd and the equivalent requests to its peers.

    `requests` returns the requests by contestant; its argument is the port of a running gradd server. `note` explains
    a figure that misses its target.
    """

    name: str
    work: str
    quantity: Quantity
    requests: Callable[..., dict[str, ScenarioRequest]]
    targets: tuple[Target, ...]
    sizes: Mapping[str, int]
    note: str = ""


def _from_json(name: str) -> Read:
    """Return a reader of a gradient in gradd's JSON, or in the nested numbers of the PyTorch server's JSON."""

    def read(reply: bytes) -> Array:
        tensor = json.loads(reply)["gradients"][name]
        return np.asarray(tensor["data"] if isinstance(tensor, dict) else tensor)

    return read


def _posted(body: Any, path: str = GRADIENTS) -> HttpRequest:
    return HttpRequest(path, orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY))


def inline(port: int) -> dict[str, ScenarioRequest]:  # noqa: ARG001  # it sends no request itself
    """The tutorial, with its DAG in the reply."""
    request = _posted(TUTORIAL)
    return {
        "gradd": ScenarioRequest("gradd", request, _from_json("w")),
        "route": ScenarioRequest("route", HttpRequest("/read", request.body)),
        "torch_server": ScenarioRequest("torch_server", request, _from_json("w")),
    }


def registered(port: int) -> dict[str, ScenarioRequest]:
    """The tutorial as a registered graph: the request has only values, the reply only gradients."""
    with sender(port, _posted({"graph": TUTORIAL["graph"]}, "/v1/graphs")) as register:
        known = json.loads(bytes(register()))["id"]
    tensors = {
        name: tensor["data"] if isinstance(tensor, dict) else tensor
        for name, tensor in TUTORIAL["graph"]["tensors"].items()
    }
    request = _posted({"tensors": tensors, "dag": False}, f"/v1/graphs/{known}/gradients")
    return {
        "gradd": ScenarioRequest("gradd", request, _from_json("w")),
        "route": ScenarioRequest("route", HttpRequest("/read", request.body)),
    }


def fast_path(port: int) -> dict[str, ScenarioRequest]:  # noqa: ARG001
    """The tutorial on the fast path, and on the general path by the content coding `identity`."""
    request = _posted(TUTORIAL)
    general = replace(request, headers={"Content-Encoding": "identity"})
    return {
        "gradd": ScenarioRequest("gradd", request, _from_json("w")),
        "general": ScenarioRequest("gradd", general, _from_json("w")),
    }


def _point(size: int) -> Array:
    return np.random.default_rng(9).standard_normal(size)


def _sum_of_tanh(x: Mapping[str, Any], **members: Any) -> dict[str, Any]:
    ops = [{"op": "tanh", "inputs": ["x"], "output": "bent"}, {"op": "sum", "inputs": ["bent"], "output": "y"}]
    return {"graph": {"tensors": {"x": {**x, "requires_grad": True}}, "ops": ops}, "dag": False, **members}


def large_json(port: int, size: int) -> dict[str, ScenarioRequest]:  # noqa: ARG001
    """The sum of tanh of a vector: numbers in JSON in the request and the reply."""
    request = _posted(_sum_of_tanh({"data": _point(size)}))
    read = _from_json("x")
    return {
        "gradd": ScenarioRequest("gradd", request, read),
        "torch_server": ScenarioRequest("torch_server", request, read),
    }


def large_json_zstd(port: int, size: int) -> dict[str, ScenarioRequest]:
    """The request of `large_json` with the headers of httpx with brotli and zstandard, and without content codings."""
    contestant = large_json(port, size)["gradd"]
    by_default, plain = ({"Accept-Encoding": coding} for coding in ("gzip, deflate, br, zstd", "identity"))
    return {
        "gradd": replace(contestant, request=replace(contestant.request, headers=by_default)),
        "identity": replace(contestant, request=replace(contestant.request, headers=plain)),
    }


def large_msgpack(port: int, size: int) -> dict[str, ScenarioRequest]:  # noqa: ARG001
    """The request of `large_json` in MessagePack: raw bytes in the request and the reply."""
    tensor = {"data": _point(size).tobytes(), "dtype": "float64", "shape": [size]}
    body = msgpack.packb(_sum_of_tanh(tensor))
    request = HttpRequest(GRADIENTS, body, MSGPACK, {"Accept": MSGPACK})

    def read(reply: bytes) -> Array:
        return np.frombuffer(msgpack.unpackb(reply)["gradients"]["x"]["data"])

    return {
        "gradd": ScenarioRequest("gradd", request, read),
        "echo": ScenarioRequest("route", HttpRequest("/echo", body, MSGPACK)),
    }


def base64(port: int, size: int) -> dict[str, ScenarioRequest]:  # noqa: ARG001
    """The request of `large_json` in base64. Tesseract Core computes it as a vector-Jacobian product."""
    text = binascii.b2a_base64(_point(size).tobytes(), newline=False).decode()
    tensor = {"data": text, "dtype": "float64", "shape": [size]}
    array = {
        "object_type": "array",
        "shape": [size],
        "dtype": "float64",
        "data": {"buffer": text, "encoding": "base64"},
    }
    product = {"inputs": {"x": array}, "vjp_inputs": ["x"], "vjp_outputs": ["y"], "cotangent_vector": {"y": 1.0}}
    accept = {"Accept": "application/json+base64"}
    return {
        "gradd": ScenarioRequest(
            "gradd", _posted(_sum_of_tanh(tensor, encoding="base64")), _from_base64("gradients", "data")
        ),
        "tesseract": ScenarioRequest(
            "tesseract",
            HttpRequest("/vector_jacobian_product", orjson.dumps(product), JSON, accept),
            _from_base64("x", "buffer"),
        ),
    }


def _from_base64(member: str, data: str) -> Read:
    def read(reply: bytes) -> Array:
        found = json.loads(reply)[member]
        array = found["x"] if member == "gradients" else found["data"]
        return np.frombuffer(binascii.a2b_base64(array[data]))

    return read


STACK = (
    "of a call that takes the server 100 µs, reading, running and writing take 50 µs, bounds, counters and log 20 µs, "
    "the event loop and the kernel the rest; the route that only reads takes 95 µs in total"
)
"""Breakdown of the time of small calls, measured in one process with and without sockets."""

SCENARIOS = (
    Scenario(
        "http_inline",
        "tutorial over HTTP, 8 connections, graph and DAG in every call",
        "rate",
        inline,
        (Target(0.6, ("route",), at_least=True), Target(4, ("torch_server",), at_least=True)),
        {},
        STACK,
    ),
    Scenario(
        "http_registered",
        "tutorial over HTTP, 8 connections, graph registered, no DAG",
        "rate",
        registered,
        (Target(0.75, ("route",), at_least=True),),
        {},
        STACK,
    ),
    Scenario(
        "fast_path",
        "tutorial over HTTP, 8 connections, on the fast path and on the general one",
        "rate",
        fast_path,
        (Target(1.3, ("general",), at_least=True),),
        {},
    ),
    Scenario(
        "json_1m_zstd",
        "1 M float64 there and back in JSON, for clients that accept zstd, and for others",
        "time",
        large_json_zstd,
        (Target(1.1, ("identity",)),),
        {"size": 1_000_000},
    ),
    Scenario(
        "json_1m",
        "1 M float64 there, 1 M gradient back, JSON",
        "time",
        large_json,
        (Target(1 / 12, ("torch_server",)),),
        {"size": 1_000_000},
        "a million doubles are 20 MB of digits: a core reads them in 24 ms and writes them in 24 ms, so two cores take "
        "about 30 ms with what is not divided; both texts go through the loopback in 10 ms, on both cores",
    ),
    Scenario(
        "msgpack_1m",
        "1 M float64 there, 1 M gradient back, MessagePack",
        "time",
        large_msgpack,
        (Target(3, ("echo",)),),
        {"size": 1_000_000},
    ),
    Scenario(
        "tesseract_small",
        "3 float64 there and back, base64",
        "time",
        base64,
        (Target(1 / 3, ("tesseract",)),),
        {"size": 3},
        STACK,
    ),
    Scenario(
        "tesseract_10m",
        "10 M float64 there, 10 M gradient back, base64",
        "time",
        base64,
        (Target(1 / 3, ("tesseract",)),),
        {"size": 10_000_000},
    ),
)
