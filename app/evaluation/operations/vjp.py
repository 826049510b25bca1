"""POST /v1/vjp: cotangents times the Jacobian."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from app.evaluation.operations import example_graphs as graphs
from app.evaluation.operations.operation import Operation, example
from app.schemas.members import Names, member
from app.schemas.replies import Reply, Tensors
from app.schemas.requests import WRT, Directions, Options
from engine import VjpRequest


class VjpMembers(Options):
    """A request for products of cotangents and the Jacobian."""

    words: ClassVar[str] = "a vjp request"

    vectors: Directions = Field(description="the cotangents: for each output a tensor of its shape")
    wrt: Names = member(WRT)


class VjpReply(Reply):
    """The reply to vjp."""

    outputs: Tensors
    vjp: Tensors


OPERATION = Operation(
    title="Vjp",
    summary="Cotangents times the Jacobian",
    description=(
        "Multiply cotangents of outputs with the Jacobian in one reverse pass, as `torch.func.vjp` does. An input that "
        "no output depends on has zeros."
    ),
    members=VjpMembers,
    reply=VjpReply,
    kind=VjpRequest,
    place=3,
    called={"vectors": {"z": [1, 0, 0]}, "wrt": ["b"]},
    examples={
        "layer": example("One row of a layer's Jacobian", graphs.TANH_LAYER, vectors={"h": [1, 0, 0]}, wrt=["x"]),
        "tutorial": example("The gradients of a loss", graphs.TUTORIAL, vectors={"loss": 1}),
    },
)
