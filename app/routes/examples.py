"""The example requests of the API's description. Every one runs; the tests run them all."""

from __future__ import annotations

import binascii
from typing import Any

import numpy as np

from app.routes import example_graphs as graphs
from app.routes.example_graphs import Graph, graph, op, wanted

Example = dict[str, Any]
TUTORIAL: dict[str, Any] = {"graph": graphs.TUTORIAL}
"""The example that comes first everywhere."""


def _example(summary: str, computation: Graph, **members: Any) -> Example:
    return {"summary": summary, "value": {"graph": computation, **members}}


_FROZEN = graph({**graphs.TUTORIAL["tensors"], "b": graphs.BIAS}, *graphs.LAYER, graphs.LOSS)
_SEEDED = graph({name: graphs.TUTORIAL["tensors"][name] for name in ("x", "w", "b")}, *graphs.LAYER)
_PRODUCT = graph({"x": graphs.X, "w": graphs.WEIGHT}, graphs.LAYER[0])
_PACKED = {
    "dtype": "float32",
    **graph(
        {
            "x": {
                **wanted(binascii.b2a_base64(np.arange(4, dtype="<f4").tobytes(), newline=False).decode()),
                "shape": [2, 2],
            }
        },
        op("mul", ["x", "x"], "square"),
        op("sum", ["square"], "total"),
    ),
}
_RECTIFIER = graph(
    {"x": wanted([-1, 0, 2, 0])},
    op("relu", ["x"], "active"),
    op("square", ["x"], "squares"),
    op("add", ["active", "squares"], "terms"),
    op("sum", ["terms"], "total"),
)
_MASKED = graph(
    {"x": wanted([0, 0.5, 2])},
    op("reciprocal", ["x"], "inverse"),
    op("gt", ["x", 0.25], "large"),
    op("where", ["large", "inverse", 0], "safe"),
    op("sum", ["safe"], "total"),
)
_ALL = {"x": 0, "y": 0}
_SPOTS = graphs.black_scholes([80, 90, 100, 110])

EXAMPLES: dict[str, dict[str, Example]] = {
    "gradients": {
        "tutorial": _example("One linear layer and its loss", graphs.TUTORIAL),
        "per_sample": _example("Per-sample gradients: the computation mapped over a batch", graphs.BATCH, vmap=_ALL),
        "frozen": _example("A frozen parameter: no gradient is asked for", _FROZEN),
        "seeds": _example(
            "A root that is not a scalar, with its seed; the gradient of an intermediate result",
            _SEEDED,
            backward={"z": [1, 0.5, 0.25]},
            wrt=["b", "xw"],
        ),
        "accumulate": _example(
            "Gradients added to earlier ones", graphs.TUTORIAL, wrt=["b"], accumulate={"b": [1, 1, 1]}, dag=False
        ),
        "checkpoint": _example(
            "Values computed again on the way back instead of kept", graphs.TUTORIAL, checkpoint=["z"]
        ),
        "no_grad": _example("A result computed without being recorded", graphs.NO_GRAD),
        "base64": _example("Values as base64 of their bytes", _PACKED, encoding="base64"),
    },
    "forward": {
        "layer": _example("A linear layer's output", _PRODUCT),
        "outputs": _example("An intermediate result too", graphs.TUTORIAL, outputs=["z", "loss"]),
        "mapped": _example("A batch, one sample at a time", graphs.BATCH, vmap=_ALL),
        "same_draws": _example(
            "Dropout that drops the same elements of every sample",
            graphs.DROPOUT,
            vmap={"x": 0},
            randomness="same",
            seed=7,
        ),
    },
    "jvp": {
        "tutorial": _example(
            "How the loss changes when every bias grows", graphs.TUTORIAL, tangents={"b": [1, 1, 1]}, outputs=["loss"]
        ),
        "several": _example(
            "A direction in two inputs, seen in a hidden result and in the output",
            graphs.TANH_LAYER,
            tangents={"x": [1, 0], "w": [[0, 1], [0, 0], [0, 0]]},
            outputs=["z", "h"],
        ),
        "theta": _example("A call option as a day passes", graphs.black_scholes(), tangents={"maturity": -1 / 365}),
        "mapped": _example(
            "A direction for each sample",
            graphs.BATCH,
            tangents={"x": [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0]]},
            vmap=_ALL,
        ),
    },
    "jacobian": {
        "layer": _example("A layer's outputs by its input", graphs.TANH_LAYER, wrt=["x"]),
        "reverse": _example("The same by its weights, row by row", graphs.TANH_LAYER, wrt=["w"], mode="reverse"),
        "forward": _example("The same, column by column", graphs.TANH_LAYER, wrt=["w"], mode="forward"),
        "mapped": _example(
            "A Jacobian for each sample", graphs.BATCH, outputs=["z"], wrt=["b", "w"], vmap=_ALL, encoding="base64"
        ),
    },
    "hessian": {
        "greeks": _example("Gamma, vanna and vomma of a call option", graphs.black_scholes(), wrt=["spot", "sigma"]),
        "newton": _example("What a step of Newton's method needs", graphs.LOGISTIC),
        "rosenbrock": _example("A Hessian with three diagonals", graphs.rosenbrock(-1.2, 1, 0.5, 2)),
        "mapped": _example("Gamma at several prices", _SPOTS, wrt=["spot"], vmap={"spot": 0}),
    },
    "hvp": {
        "rosenbrock": _example(
            "A Hessian times a vector, without the Hessian",
            graphs.rosenbrock(-1.2, 1, 0.5, 2),
            vectors={"x": [1, 0, 0, -1]},
        ),
        "tutorial": _example(
            "The curvature of the loss along a direction in two inputs",
            graphs.TUTORIAL,
            output="loss",
            vectors={"w": [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]], "b": [1, 1, 1]},
        ),
        "mapped": _example("The same direction for each sample", graphs.BATCH, vectors={"b": [1, 0, 0]}, vmap=_ALL),
    },
    "check": {
        "tutorial": _example("The gradients of a linear layer are right", graphs.TUTORIAL),
        "analytic": _example(
            "An analytic function: complex steps show the gradients right to the last digits",
            graphs.TANH_LAYER,
            backward={"h": [1, 2, 3]},
        ),
        "kinks": _example("At 0 the slopes of a rectifier differ: two kinks, and no failure", _RECTIFIER),
        "mapped": _example("Per-sample gradients, for every sample", graphs.BATCH, vmap=_ALL),
        "masked": _example(
            "A failure: the gradient of 1 / x at 0 is not finite, also where another branch is taken", _MASKED
        ),
        "tolerances": _example(
            "The step and the tolerances, and the gradient of an intermediate result",
            graphs.TANH_LAYER,
            backward={"h": [1, 2, 3]},
            wrt=["x", "z"],
            eps=1e-3,
            rtol=1e-7,
            atol=1e-9,
        ),
    },
    "explain": {
        "shapes": _example("What training a network of this shape would take", graphs.CLASSIFIER),
        "checkpoint": _example(
            "What a checkpoint saves, and what it costs", graphs.CLASSIFIER, checkpoint=["active"], dag=False
        ),
        "mapped": _example("Per-sample gradients", graphs.BATCH, vmap=_ALL),
    },
}
