"""POST /v1/jacobian: derivatives of every output by every input."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from app.evaluation.operations import example_graphs as graphs
from app.evaluation.operations.operation import Operation, example
from app.schemas.members import CHOICE, Names, member
from app.schemas.replies import Matrices, Reply, Tensors
from app.schemas.requests import WRT, Options
from engine import JacobianRequest


class JacobianMembers(Options):
    """A request for jacobian."""

    words: ClassVar[str] = "a jacobian request"

    outputs: Names = member("names to differentiate; by default every output that no op consumes")
    wrt: Names = member(WRT)
    mode: Annotated[Literal["auto", "reverse", "forward"], CHOICE] = member(
        "row by row, column by column, or the cheaper", "auto"
    )


class JacobianReply(Reply):
    """The reply to jacobian."""

    outputs: Tensors
    jacobian: Matrices


_ALL = {"x": 0, "y": 0}

OPERATION = Operation(
    title="Jacobian",
    summary="Every output by every input",
    description=(
        "Return the derivative of every element of every output by every element of every input: for each output and "
        "each input a tensor of the output's shape followed by the input's."
    ),
    members=JacobianMembers,
    reply=JacobianReply,
    kind=JacobianRequest,
    place=4,
    called={"outputs": ["z"], "wrt": ["b"]},
    examples={
        "layer": example("A layer's outputs by its input", graphs.TANH_LAYER, wrt=["x"]),
        "reverse": example("The same by its weights, row by row", graphs.TANH_LAYER, wrt=["w"], mode="reverse"),
        "forward": example("The same, column by column", graphs.TANH_LAYER, wrt=["w"], mode="forward"),
        "mapped": example(
            "A Jacobian for each sample", graphs.BATCH, outputs=["z"], wrt=["b", "w"], vmap=_ALL, encoding="base64"
        ),
    },
)
