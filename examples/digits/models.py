"""Two models as graphs: what a client sends is this list of ops, and the tensors that they are called with.

Parameters are PyTorch's: a layer's `weight` is (outputs, inputs), a convolution's (outputs, inputs, height, width).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Op = dict[str, Any]
Parameters = dict[str, np.ndarray]


@dataclass(frozen=True)
class Model:
    """Shapes of the parameters by name, and the ops from `images` and `labels` to `logits` and `loss`."""

    shapes: Mapping[str, tuple[int, ...]]
    ops: list[Op]

    def initial_parameters(self, rng: np.random.Generator) -> Parameters:
        """Draw every parameter uniformly from ±1 / sqrt(the inputs that its layer's outputs have)."""
        drawn = {}
        for name, shape in self.shapes.items():
            layer = name.partition(".")[0]
            bound = 1 / math.sqrt(math.prod(self.shapes[f"{layer}.weight"][1:]))
            drawn[name] = rng.uniform(-bound, bound, shape)
        return drawn


def op(name: str, inputs: list[str], output: str, **attributes: Any) -> Op:
    """Return a call of an op, as the request has it."""
    return {"op": name, "inputs": inputs, "output": output, "attributes": attributes}


# images (n, 1, 8, 8) -> pixels (n, 64) -> hidden (n, 64) -> logits (n, 10)
MLP = Model(
    shapes={
        "layer1.weight": (64, 64),
        "layer1.bias": (64,),
        "layer2.weight": (10, 64),
        "layer2.bias": (10,),
    },
    ops=[
        op("flatten", ["images"], "pixels", start_dim=1),
        op("linear", ["pixels", "layer1.weight", "layer1.bias"], "sums"),
        op("relu", ["sums"], "hidden"),
        op("linear", ["hidden", "layer2.weight", "layer2.bias"], "logits"),
        op("cross_entropy", ["logits", "labels"], "loss"),
    ],
)

# images (n, 1, 8, 8) -> (n, 8, 8, 8) -> (n, 8, 4, 4) -> (n, 16, 4, 4) -> (n, 16, 2, 2) -> (n, 64) -> logits (n, 10)
CONV = Model(
    shapes={
        "conv1.weight": (8, 1, 3, 3),
        "conv1.bias": (8,),
        "conv2.weight": (16, 8, 3, 3),
        "conv2.bias": (16,),
        "layer.weight": (10, 64),
        "layer.bias": (10,),
    },
    ops=[
        op("conv2d", ["images", "conv1.weight", "conv1.bias"], "maps1", padding=1),
        op("relu", ["maps1"], "active1"),
        op("max_pool2d", ["active1"], "small1", kernel_size=2),
        op("conv2d", ["small1", "conv2.weight", "conv2.bias"], "maps2", padding=1),
        op("relu", ["maps2"], "active2"),
        op("max_pool2d", ["active2"], "small2", kernel_size=2),
        op("flatten", ["small2"], "features", start_dim=1),
        op("linear", ["features", "layer.weight", "layer.bias"], "logits"),
        op("cross_entropy", ["logits", "labels"], "loss"),
    ],
)

MODELS = {"mlp": MLP, "conv": CONV}
