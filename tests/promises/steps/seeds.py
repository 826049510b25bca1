"""Small requests to every resource: the samples of every op under every operation, and the examples of the API."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import msgpack
import numpy as np
import orjson

from app.evaluation.operations import OPERATIONS
from app.wire.codec import JSON, MSGPACK, Codec
from engine.graph.op import REGISTRY, Op
from engine.graph.samples import Sample
from engine.inspect.catalogue import graph_of

MOST_BYTES = 100_000
"""The largest request, with its head."""


def as_json(tree: Any) -> bytes:
    """Return a tree as JSON. orjson writes past its buffer for deep trees."""
    return json.dumps(tree, separators=(",", ":"), allow_nan=False).encode()


@dataclass(frozen=True)
class Candidate:
    """A request of the search. `tree` is its body as plain data, `raw` the body if it is none; `label` its origin."""

    label: str
    method: str
    path: str
    tree: Any = None
    raw: bytes | None = None
    codec: Codec = JSON
    headers: dict[str, str] = field(default_factory=dict)
    grown: tuple[str, ...] = ()

    @property
    def endpoint(self) -> str:
        return f"{self.method} {self.path.partition('?')[0]}"

    def sent(self) -> bytes | None:
        """Return the bytes of the request, or None if it is too large or has no bytes."""
        try:
            body = self.raw if self.raw is not None else b"" if self.tree is None else self._body()
        except (TypeError, ValueError, OverflowError, RecursionError):
            return None
        headers = {"Host": "127.0.0.1", "Content-Type": self.codec.media_type, **self.headers}
        if body or self.method == "POST":
            headers["Content-Length"] = str(len(body))
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        data = f"{self.method} {self.path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body
        return data if len(data) <= MOST_BYTES else None

    def _body(self) -> bytes:
        packed: bytes = msgpack.packb(self.tree) if self.codec is MSGPACK else as_json(self.tree)
        return packed

    def but(self, grown: str, **changes: Any) -> Candidate:
        return replace(self, grown=(*self.grown, grown), **changes)


def members_of(operation: str, tree: dict[str, Any]) -> dict[str, Any]:
    """Return a request of an operation for a graph that ends with the scalar `total`."""
    graph = tree["graph"]
    leaves = [name for name, tensor in graph["tensors"].items() if type(tensor) is dict and tensor.get("requires_grad")]
    first = leaves[:1]
    values = {name: graph["tensors"][name]["data"] for name in leaves}
    if operation == "jvp":
        return {"tangents": values}
    if operation == "vjp":
        return {"vectors": {"total": 1.0}}
    if operation == "hvp":
        return {"vectors": values}
    if operation in {"jacobian", "hessian"}:
        return {"wrt": first} if first else {}
    return {}


@cache
def _graph(name: str, index: int) -> dict[str, Any]:
    op = REGISTRY[name]
    return graph_of(op, op.samples[index], np.random.default_rng(0))


def of_sample(op: Op, sample: Sample, operation: str) -> Candidate:
    """Return a request that calls an op with a sample, and sums its first result."""
    graph = copy.deepcopy(_graph(op.name, op.samples.index(sample)))
    output = graph["ops"][0]["output"]
    graph["ops"].append({"op": "sum", "inputs": [output if type(output) is str else output[0]], "output": "total"})
    tree = {"graph": graph}
    tree |= members_of(operation, tree)
    return Candidate(f"{op.name}", "POST", f"/v1/{operation}", tree)


def samples(operation: str, names: Iterable[str]) -> Iterator[Candidate]:
    """Yield a request for each sample of these ops."""
    for name in names:
        op = REGISTRY[name]
        for sample in op.samples:
            yield of_sample(op, sample, operation)


def examples(operation: str) -> Iterator[Candidate]:
    """Yield the examples of an operation."""
    for name, example in OPERATIONS[operation].examples.items():
        tree = copy.deepcopy(example["value"])
        yield Candidate(f"example {name}", "POST", f"/v1/{operation}", orjson.loads(orjson.dumps(tree)))
