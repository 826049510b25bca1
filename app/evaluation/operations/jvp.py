"""POST /v1/jvp: tangents, the Jacobian times a direction."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from app.evaluation.operations import example_graphs as graphs
from app.evaluation.operations.operation import Operation, example
from app.schemas.members import Names, member
from app.schemas.replies import Reply, Tensors
from app.schemas.requests import Directions, Options
from engine import TangentRequest


class JvpMembers(Options):
    """A request for jvp."""

    words: ClassVar[str] = "a jvp request"

    tangents: Directions = Field(description="the direction: for each name a tensor of its shape")
    outputs: Names = member("names to return values and tangents of; by default those that no op consumes")


class JvpReply(Reply):
    """The reply to jvp."""

    outputs: Tensors
    tangents: Tensors


_ALL = {"x": 0, "y": 0}

OPERATION = Operation(
    title="Jvp",
    summary="Tangents: how outputs change in a direction",
    description=(
        "Multiply the Jacobian with a direction in one forward pass, as `torch.func.jvp` does. What the direction "
        "leaves out stands still; an output that does not depend on the rest has zeros."
    ),
    members=JvpMembers,
    reply=JvpReply,
    kind=TangentRequest,
    place=2,
    called={"tangents": {"b": [1, 1, 1]}},
    examples={
        "tutorial": example(
            "How the loss changes when every bias grows", graphs.TUTORIAL, tangents={"b": [1, 1, 1]}, outputs=["loss"]
        ),
        "several": example(
            "A direction in two inputs, seen in a hidden result and in the output",
            graphs.TANH_LAYER,
            tangents={"x": [1, 0], "w": [[0, 1], [0, 0], [0, 0]]},
            outputs=["z", "h"],
        ),
        "theta": example("A call option as a day passes", graphs.black_scholes(), tangents={"maturity": -1 / 365}),
        "mapped": example(
            "A direction for each sample",
            graphs.BATCH,
            tangents={"x": [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0]]},
            vmap=_ALL,
        ),
    },
)
