"""The example requests of the API's description. Every one runs; the tests run them all."""

from __future__ import annotations

import binascii
from typing import Any

import numpy as np

Example = dict[str, Any]


def _example(summary: str, value: dict[str, Any]) -> Example:
    return {"summary": summary, "value": value}


_W = [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9], [1.0, 1.1, 1.2], [1.3, 1.4, 1.5]]
_LAYER = [
    {"op": "matmul", "inputs": ["x", "w"], "output": "xw"},
    {"op": "add", "inputs": ["xw", "b"], "output": "z"},
]
_LOSS = {"op": "binary_cross_entropy_with_logits", "inputs": ["z", "y"], "output": "loss"}
_CONSTANTS = {"x": [1, 1, 1, 1, 1], "y": [0, 0, 0]}
_WEIGHT = {"w": {"data": _W, "requires_grad": True}}
_BIAS = {"b": {"data": [0.5, 0.1, 0.2], "requires_grad": True}}

TUTORIAL: dict[str, Any] = {"graph": {"tensors": {**_CONSTANTS, **_WEIGHT, **_BIAS}, "ops": [*_LAYER, _LOSS]}}
"""One linear layer and its loss: PyTorch's introduction to automatic differentiation."""

_FROZEN = {"graph": {"tensors": {**_CONSTANTS, **_WEIGHT, "b": [0.5, 0.1, 0.2]}, "ops": [*_LAYER, _LOSS]}}
_SEEDED = {
    "graph": {"tensors": {"x": _CONSTANTS["x"], **_WEIGHT, **_BIAS}, "ops": _LAYER},
    "backward": {"z": [1, 0.5, 0.25]},
    "wrt": ["b", "xw"],
}
_ACCUMULATED = {**TUTORIAL, "wrt": ["b"], "accumulate": {"b": [1, 1, 1]}, "dag": False}
_NO_GRAD = {
    "graph": {
        "tensors": {"x": {"data": [1, 2, 3], "requires_grad": True}},
        "ops": [
            {"op": "exp", "inputs": ["x"], "output": "scale", "no_grad": True},
            {"op": "mul", "inputs": ["x", "scale"], "output": "scaled"},
            {"op": "sum", "inputs": ["scaled"], "output": "total"},
        ],
    }
}
_BASE64 = {
    "graph": {
        "dtype": "float32",
        "tensors": {
            "x": {
                "data": binascii.b2a_base64(np.arange(4, dtype="<f4").tobytes(), newline=False).decode(),
                "shape": [2, 2],
                "requires_grad": True,
            }
        },
        "ops": [
            {"op": "mul", "inputs": ["x", "x"], "output": "square"},
            {"op": "sum", "inputs": ["square"], "output": "total"},
        ],
    },
    "encoding": "base64",
}

EXAMPLES: dict[str, dict[str, Example]] = {
    "gradients": {
        "tutorial": _example("One linear layer and its loss", TUTORIAL),
        "frozen": _example("A frozen parameter: no gradient is asked for", _FROZEN),
        "seeds": _example(
            "A root that is not a scalar, with its seed; the gradient of an intermediate result", _SEEDED
        ),
        "accumulate": _example("Gradients added to earlier ones", _ACCUMULATED),
        "no_grad": _example("A result computed without being recorded", _NO_GRAD),
        "base64": _example("Values as base64 of their bytes", _BASE64),
    },
    "forward": {
        "layer": _example(
            "A linear layer's output", {"graph": {"tensors": {"x": [1, 1, 1, 1, 1], "w": _W}, "ops": _LAYER[:1]}}
        ),
        "outputs": _example("An intermediate result too", {**TUTORIAL, "outputs": ["z", "loss"]}),
    },
}
