"""POST /v1/forward: outputs without gradients."""

from __future__ import annotations

from typing import ClassVar

from app.evaluation.operations import example_graphs as graphs
from app.evaluation.operations.example_graphs import graph
from app.evaluation.operations.operation import Operation, example
from app.schemas.members import Names, member
from app.schemas.replies import Reply, Tensors
from app.schemas.requests import Options
from engine import ForwardRequest


class ForwardMembers(Options):
    """A request for forward."""

    words: ClassVar[str] = "a forward request"

    outputs: Names = member("names to return values of; by default every output that no op consumes")


class ForwardReply(Reply):
    """The reply to forward."""

    outputs: Tensors


_PRODUCT = graph({"x": graphs.X, "w": graphs.WEIGHT}, graphs.LAYER[0])
_ALL = {"x": 0, "y": 0}

OPERATION = Operation(
    title="Forward",
    summary="Outputs alone",
    description="Run a graph and record nothing.",
    members=ForwardMembers,
    reply=ForwardReply,
    kind=ForwardRequest,
    place=1,
    examples={
        "layer": example("A linear layer's output", _PRODUCT),
        "outputs": example("An intermediate result too", graphs.TUTORIAL, outputs=["z", "loss"]),
        "mapped": example("A batch, one sample at a time", graphs.BATCH, vmap=_ALL),
        "same_draws": example(
            "Dropout that drops the same elements of every sample",
            graphs.DROPOUT,
            vmap={"x": 0},
            randomness="same",
            seed=7,
        ),
    },
)
