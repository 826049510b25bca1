"""Random requests of many kinds, each a function of its seed, for tests that compare replies under load.

A seed always gives the same request, so a failure is repeated by its seed. `alone` computes the reply without a server.
"""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np
import orjson
import zstandard

from app.errors import ProblemError
from app.evaluation.evaluator import Call, Evaluator
from app.evaluation.operations import OPERATIONS
from app.routes.examples.inline import EXAMPLES
from engine import catalogue
from tests.app.bodies import op, request, tensor

JSON, MSGPACK = "application/json", "application/msgpack"

Body = dict[str, Any]


@dataclass(frozen=True)
class Message:
    """A request: its kind, its path, its body, and its headers by lower-case name."""

    kind: str
    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": JSON})
    method: str = "POST"

    def sent(self, request_id: str) -> bytes:
        """Return the bytes of the request."""
        headers = {
            "host": "127.0.0.1",
            "x-request-id": request_id,
            "content-length": str(len(self.body)),
            **self.headers,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"{self.method} {self.path} HTTP/1.1\r\n{lines}\r\n".encode("ascii") + self.body


UNARY = ("exp", "sin", "tanh", "sigmoid", "relu", "square", "softplus", "gelu", "abs", "cumsum", "softmax", "flip")
BINARY = ("add", "mul", "sub", "maximum", "where")


def graph(rng: random.Random, size: int) -> Body:
    """Return a graph of up to three vectors and up to eight ops, with a scalar loss."""
    names = [f"x{index}" for index in range(rng.randint(1, 3))]
    tensors = {name: tensor(_values(rng, size), requires_grad=True) for name in names}
    ops = []
    for index in range(rng.randint(1, 7)):
        kind = rng.choice(UNARY + BINARY)
        inputs = [rng.choice(names) for _ in range(2 if kind in BINARY else 1)]
        if kind == "where":
            ops.append(op("gt", [inputs[0], 0.25], f"is{index}"))
            inputs = [f"is{index}", *inputs]
        attributes = {"cumsum": {"dim": 0}, "softmax": {"dim": -1}, "flip": {"dims": [0]}}.get(kind, {})
        ops.append(op(kind, inputs, f"y{index}", attributes=attributes))
        names.append(f"y{index}")
    ops.append(op(rng.choice(("sum", "mean")), [names[-1]], "loss"))
    return {"tensors": tensors, "ops": ops, "dtype": rng.choice(("float64", "float32"))}


def _values(rng: random.Random, size: int) -> list[float]:
    """Return values that three digits write exactly as often as not."""
    return [round(rng.uniform(-2, 2), rng.choice((3, 17))) for _ in range(size)]


def _inline(rng: random.Random) -> tuple[str, Body]:
    operation = rng.choice(("gradients", "gradients", "forward", "hessian", "jacobian", "check"))
    members: Body = {"graph": graph(rng, rng.randint(1, 8))}
    if operation == "gradients":
        members |= {"backward": "loss", "dag": rng.random() < 0.3, "encoding": rng.choice(("json", "base64"))}
    elif operation == "hessian":
        members |= {"output": "loss"}
    elif operation != "forward":
        members |= {"outputs": ["loss"]} if operation == "jacobian" else {"backward": "loss"}
    return operation, members


def _large(rng: random.Random) -> tuple[str, Body]:
    """A request that is read and computed in a worker."""
    members = {"graph": graph(rng, rng.choice((2_000, 20_000, 60_000))), "backward": "loss", "dag": False}
    return "gradients", members | {"encoding": rng.choice(("json", "base64"))}


def _random(rng: random.Random) -> tuple[str, Body]:
    """A request whose ops draw random numbers from a seed."""
    size = rng.choice((5, 5, 50_000))
    drawn = op("dropout", ["x"], "y", attributes={"p": 0.5})
    members = request({"x": tensor(_values(rng, 5), requires_grad=True)}, op("repeat", ["x", [size // 5]], "wide"))
    members["graph"]["ops"] += [drawn | {"inputs": ["wide"]}, op("sum", ["y"], "loss")]
    return "gradients", members | {"seed": rng.randrange(2**31), "outputs": ["y"], "backward": "loss"}


def _example(rng: random.Random) -> tuple[str, Body]:
    """An example of the API's description."""
    operation = rng.choice(list(OPERATIONS))
    return operation, rng.choice(list(EXAMPLES[operation].values()))["value"]


def _op_example(rng: random.Random) -> tuple[str, Body]:
    """The example of an op's page."""
    return "forward", {"graph": catalogue.describe(rng.choice(OPS))["example"]}


OPS = catalogue.names()


def _wrong(rng: random.Random) -> tuple[str, Body]:
    """A request with a fault that the engine or the schemas find."""
    operation, members = _inline(rng)
    ops = members["graph"]["ops"]
    fault = rng.randrange(5)
    if fault == 0:
        ops[0] = ops[0] | {"op": ops[0]["op"] + rng.choice("xyz")}
    elif fault == 1:
        ops[-1] = ops[-1] | {"inputs": [f"nothing{rng.randrange(100)}"]}
    elif fault == 2:
        members[f"surprise{rng.randrange(100)}"] = 1
    elif fault == 3:
        members["graph"]["tensors"]["x0"] = tensor([[1.0, 2.0], [rng.random()]])
    else:
        ops[-1] = op("matmul", ["x0", "x0", "x0"], "loss")
    return operation, members


KINDS: dict[str, tuple[int, Callable[[random.Random], tuple[str, Body]]]] = {
    "inline": (6, _inline),
    "large": (1, _large),
    "random": (2, _random),
    "example": (3, _example),
    "op": (3, _op_example),
    "wrong": (2, _wrong),
}
"""Weights and generators of the operation and the members, by kind."""


@dataclass(frozen=True)
class Registered:
    """A registered graph: its id, and the graph as it was registered, some of whose tensors lack values."""

    id: str
    graph: Body

    def call(self, rng: random.Random) -> tuple[Body, Body]:
        """Return the members of a call of the gradients, and those of the same request with an inline graph."""
        given = {
            name: tensor(_values(rng, form["shape"][0]))
            for name, form in self.graph["tensors"].items()
            if "data" not in form
        }
        filled = {
            name: {**given[name], "requires_grad": form["requires_grad"]} if name in given else form
            for name, form in sorted(self.graph["tensors"].items())
        }
        members = {"backward": "loss"}
        return {"tensors": given, **members}, {"graph": {**self.graph, "tensors": filled}, **members}


def registration(rng: random.Random) -> Body:
    """Return a graph to register: one of `graph`, some of whose tensors lack values."""
    size = rng.randint(1, 6)
    made = graph(rng, size)
    for name in made["tensors"]:
        if rng.random() < 0.5:
            made["tensors"][name] = {"shape": [size], "requires_grad": True}
    return made


def message(seed: int, graphs: list[Registered] | None = None) -> Message:
    """Return the request of a seed; among calls of registered graphs, if there are `graphs`."""
    rng = random.Random(seed)
    draw = rng.random()
    if draw < 0.04:
        return _malformed(rng)
    if graphs and draw < 0.25:
        called = rng.choice(graphs)
        return _encoded(rng, "registered", f"/v1/graphs/{called.id}/gradients", called.call(rng)[0])
    kind = rng.choices(list(KINDS), [weight for weight, _ in KINDS.values()])[0]
    operation, members = KINDS[kind][1](rng)
    return _encoded(rng, kind, f"/v1/{operation}", members)


def _malformed(rng: random.Random) -> Message:
    """A body that cannot be read, or a resource that does not exist."""
    if rng.random() < 0.3:
        return Message("malformed", f"/v1/graphs/sha256-{rng.randrange(100)}/gradients", b"{}")
    operation, members = _inline(rng)
    body = orjson.dumps(members)
    cut = body[: rng.randrange(1, len(body))]
    media = rng.choice(({"content-type": JSON}, {"content-type": MSGPACK}, {"content-type": "text/plain"}))
    return Message("malformed", f"/v1/{operation}", cut, media)


def _encoded(rng: random.Random, kind: str, path: str, members: Body) -> Message:
    """Write a request as JSON or MessagePack, compressed or not, and ask for a reply in one of these forms."""
    headers = {"content-type": JSON}
    if rng.random() < 0.3:
        headers["content-type"] = MSGPACK
        body: bytes = msgpack.packb(_raw(members) if rng.random() < 0.5 else members)
    else:
        body = orjson.dumps(members)
    if rng.random() < 0.3:
        headers["accept"] = MSGPACK
    coding = rng.choice(("", "", "", "", "gzip", "zstd"))
    if coding:
        headers["content-encoding"] = coding
        body = gzip.compress(body, 1, mtime=0) if coding == "gzip" else zstandard.ZstdCompressor().compress(body)
    accepted = rng.choice(("", "", "", "gzip", "zstd", "gzip, identity;q=0"))
    if accepted:
        headers["accept-encoding"] = accepted
    return Message(kind, path, body, headers)


def _raw(members: Body) -> Body:
    """Return the request with the tensors of its graph as raw bytes, where they are lists of numbers."""
    graph = members.get("graph")
    if graph is None:
        return members
    dtype = graph.get("dtype", "float64")
    tensors = {
        name: {**form, "data": np.array(form["data"], dtype).tobytes(), "shape": [len(form["data"])], "dtype": dtype}
        if isinstance(form, dict) and _is_flat(form.get("data")) and "shape" not in form and "dtype" not in form
        else form
        for name, form in graph["tensors"].items()
    }
    return {**members, "graph": {**graph, "tensors": tensors}}


def _is_flat(data: Any) -> bool:
    return isinstance(data, list) and all(isinstance(value, float) for value in data)


def alone(evaluator: Evaluator, operation: str, members: Body) -> tuple[int, bytes]:
    """Return the status and the body of the reply to an inline request in JSON, computed in this process."""
    try:
        return 200, bytes(evaluator.answer(Call(operation, orjson.dumps(members))).body)
    except ProblemError as problem:
        return problem.status, problem.body(None)
