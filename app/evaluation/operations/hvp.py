"""POST /v1/hvp: a Hessian times a vector."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from app.evaluation.operations import example_graphs as graphs
from app.evaluation.operations.operation import Operation, example
from app.schemas.members import Name, member
from app.schemas.replies import Reply, Tensors
from app.schemas.requests import OUTPUT, Directions, Options
from engine import ProductRequest


class HvpMembers(Options):
    """A request for hvp."""

    words: ClassVar[str] = "an hvp request"

    vectors: Directions = Field(description="what the Hessian is multiplied with, by input")
    output: Name = member(OUTPUT)


class HvpReply(Reply):
    """The reply to hvp."""

    outputs: Tensors
    gradients: Tensors
    hvp: Tensors


_ALL = {"x": 0, "y": 0}

OPERATION = Operation(
    title="Hvp",
    summary="A Hessian times a vector",
    description=("Multiply the Hessian of a scalar with a vector, at the cost of a few gradients: no Hessian is made."),
    members=HvpMembers,
    reply=HvpReply,
    kind=ProductRequest,
    place=6,
    called={"vectors": {"b": [1, 0, -1]}},
    examples={
        "rosenbrock": example(
            "A Hessian times a vector, without the Hessian",
            graphs.rosenbrock(-1.2, 1, 0.5, 2),
            vectors={"x": [1, 0, 0, -1]},
        ),
        "tutorial": example(
            "The curvature of the loss along a direction in two inputs",
            graphs.TUTORIAL,
            output="loss",
            vectors={"w": [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]], "b": [1, 1, 1]},
        ),
        "mapped": example("The same direction for each sample", graphs.BATCH, vectors={"b": [1, 0, 0]}, vmap=_ALL),
    },
)
