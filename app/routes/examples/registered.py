"""Examples of registered graphs: registrations, and calls of the first graph. The tests run all of them."""

from __future__ import annotations

from typing import Any

from app.evaluation.operations import OPERATIONS
from app.evaluation.operations import example_graphs as graphs
from app.evaluation.operations.example_graphs import graph, op, wanted

_LAYER = graph(
    {"x": {"shape": [5]}, "y": {"shape": [3]}, "w": wanted(graphs.WEIGHT), "b": wanted(graphs.BIAS)},
    *graphs.LAYER,
    graphs.LOSS,
)

REGISTERED_ID = "sha256-037724080b400c4a39a9891f3f6ebba73ae4f8cfdd586b0981d210d4e3dfe385"
"""The id of the first graph in `GRAPHS`."""

_CLASSIFIER = graph(
    {
        "x": {"shape": [None, 784], "dtype": "float32"},
        "y": {"shape": [None], "dtype": "int64"},
        "w": {"shape": [784, 10], "dtype": "float32", "requires_grad": True},
    },
    op("matmul", ["x", "w"], "logits"),
    op("cross_entropy", ["logits", "y"], "loss"),
)

GRAPHS: dict[str, Any] = {
    "layer": {"summary": "A layer with its weights; calls give x and y", "value": {"graph": _LAYER}},
    "batch": {"summary": "A classifier for batches of any size", "value": {"graph": _CLASSIFIER}},
    "tutorial": {"summary": "A graph that has all its values", "value": {"graph": graphs.TUTORIAL}},
}

_SAMPLE = {"x": graphs.X, "y": graphs.Y}
_BATCH = {name: graphs.BATCH["tensors"][name] for name in ("x", "y")}


def _calls(operation: str) -> dict[str, Any]:
    members = OPERATIONS[operation].called
    return {
        "sample": {"summary": "Values for x and y", "value": {"tensors": _SAMPLE, **members}},
        "batch": {
            "summary": "Three samples, each of which the graph sees alone",
            "value": {"tensors": _BATCH, **members, "vmap": {"x": 0, "y": 0}},
        },
    }


CALLS_OF_LAYER: dict[str, Any] = {operation: _calls(operation) for operation in OPERATIONS}
