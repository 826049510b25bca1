"""Requests of some hundred bytes to some hundred kilobytes that need seconds of work, one entry of `SHORT` each.

`benchmarks.service.rows` measures the time of a health check while each request runs. A test checks that the event loop
works on none of them for long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgpack
import orjson
import zstandard

JSON, MSGPACK = "application/json", "application/msgpack"


@dataclass(frozen=True)
class ShortRequest:
    """A request: its work in words, the operation, the body, its media type and other headers."""

    work: str
    operation: str
    body: bytes
    media_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


def _graph(tensors: Mapping[str, Any], *ops: Any, **members: Any) -> bytes:
    return orjson.dumps({"graph": {"tensors": tensors, "ops": ops}, **members})


def _op(name: str, inputs: Any, output: Any, **attributes: Any) -> dict[str, Any]:
    return {"op": name, "inputs": inputs, "output": output, "attributes": attributes}


def _expanded(size: list[int], *ops: Any, **members: Any) -> bytes:
    return _graph({"x": 1.0}, _op("expand", ["x"], "y", size=size), *ops, **members)


_MANY = [f"n{number}" for number in range(10_000)]

SHORT: Mapping[str, ShortRequest] = {
    "suggestions": ShortRequest(
        "1,000 unknown names, 100 known ones of 128 characters",
        "forward",
        _graph(
            {f"{'k' * 124}{number:04d}": 1.0 for number in range(100)},
            outputs=[f"{'u' * 36}{number:04d}" for number in range(1000)],
        ),
    ),
    "pooling": ShortRequest(
        "max_pool2d with a kernel of 100 by 100",
        "forward",
        _expanded([1, 1, 512, 512], _op("max_pool2d", ["y"], "z", kernel_size=100, stride=1), outputs=["z"], dag=False),
    ),
    "long_json": ShortRequest("expand to 20 M numbers, in JSON", "forward", _expanded([20_000_000])),
    "too_long": ShortRequest("expand to 200 M numbers, in JSON: over the limit", "forward", _expanded([200_000_000])),
    "empty_lists": ShortRequest("expand to 10 M empty lists", "forward", _expanded([10_000_000, 0])),
    "deep_lists": ShortRequest(
        "expand to 100,000 numbers in 31 lists each", "forward", _expanded([100_000, *[1] * 31])
    ),
    "gzip": ShortRequest(
        "1 M numbers in base64 under gzip, for a client that accepts only gzip",
        "forward",
        _expanded(
            [1_000_000], _op("cumsum", ["y"], "z", dim=0), _op("sin", ["z"], "s"), outputs=["s"], encoding="base64"
        ),
        headers={"Accept-Encoding": "gzip, identity;q=0"},
    ),
    "unbind": ShortRequest(
        "10,000 results of one op", "forward", _expanded([10_000], _op("unbind", ["y"], _MANY), outputs=[_MANY[0]])
    ),
    "names": ShortRequest(
        "gradients of 10,000 tensors",
        "gradients",
        _graph(
            {**dict.fromkeys(_MANY, 1.0), "x": {"data": 1.0, "requires_grad": True}},
            _op("exp", ["x"], "y"),
            wrt=_MANY,
            unreached="zeros",
        ),
    ),
    "words": ShortRequest(
        "40,000 numbers, one of them a word",
        "forward",
        _graph({"x": [0.5] * 40_000 + ["NaN"]}, outputs=["x"], encoding="base64"),
    ),
    "ragged": ShortRequest("40,000 lists, the last one too long", "forward", _graph({"x": [[1]] * 40_000 + [[1, 2]]})),
    "brackets": ShortRequest("80,000 empty lists in an unknown member", "forward", _graph({"x": 1.0}, z=[[]] * 80_000)),
    "msgpack_lists": ShortRequest(
        "200,000 empty lists in MessagePack",
        "forward",
        msgpack.packb({"graph": {"tensors": {"x": 1.0}, "ops": []}, "z": [[]] * 200_000}),
        MSGPACK,
    ),
    "bomb": ShortRequest(
        "128 MiB of zeros under zstd",
        "forward",
        zstandard.ZstdCompressor().compress(bytes(128 * 2**20 + 1)),
        headers={"Content-Encoding": "zstd"},
    ),
}
