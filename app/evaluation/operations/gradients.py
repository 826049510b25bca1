"""POST /v1/gradients: outputs, gradients and the DAG."""

from __future__ import annotations

import binascii
from typing import ClassVar

import numpy as np

from app.evaluation.operations import example_graphs as graphs
from app.evaluation.operations.example_graphs import graph, op, wanted
from app.evaluation.operations.operation import Operation, example
from app.schemas.members import Flag, member
from app.schemas.replies import Gradients, Reply, Tensors
from app.schemas.requests import Differentiated
from engine import GradientRequest


class GradientsMembers(Differentiated):
    """A request for gradients."""

    words: ClassVar[str] = "a gradients request"

    dag: Flag = member("whether to return the DAG", default=True)


class GradientsReply(Reply):
    """The reply to gradients."""

    outputs: Tensors
    gradients: Gradients
    warnings: list[str]


_FROZEN = graph({**graphs.TUTORIAL["tensors"], "b": graphs.BIAS}, *graphs.LAYER, graphs.LOSS)
_SEEDED = graph({name: graphs.TUTORIAL["tensors"][name] for name in ("x", "w", "b")}, *graphs.LAYER)
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
_ALL = {"x": 0, "y": 0}

OPERATION = Operation(
    title="Gradients",
    summary="Outputs, gradients and the DAG",
    description=(
        "Run a graph and differentiate its roots, as PyTorch's `backward()` does. With `vmap`, for each sample."
    ),
    members=GradientsMembers,
    reply=GradientsReply,
    kind=GradientRequest,
    warns=True,
    place=0,
    called={"dag": False},
    examples={
        "tutorial": example("One linear layer and its loss", graphs.TUTORIAL),
        "per_sample": example("Per-sample gradients: the computation mapped over a batch", graphs.BATCH, vmap=_ALL),
        "frozen": example("A frozen parameter: no gradient is asked for", _FROZEN),
        "seeds": example(
            "A root that is not a scalar, with its seed; the gradient of an intermediate result",
            _SEEDED,
            backward={"z": [1, 0.5, 0.25]},
            wrt=["b", "xw"],
        ),
        "accumulate": example(
            "Gradients added to earlier ones", graphs.TUTORIAL, wrt=["b"], accumulate={"b": [1, 1, 1]}, dag=False
        ),
        "checkpoint": example(
            "Values computed again on the way back instead of kept", graphs.TUTORIAL, checkpoint=["z"]
        ),
        "no_grad": example("A result computed without being recorded", graphs.NO_GRAD),
        "base64": example("Values as base64 of their bytes", _PACKED, encoding="base64"),
    },
)
