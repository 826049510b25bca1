"""POST /v1/hessian: the second derivatives of a scalar."""

from __future__ import annotations

from typing import ClassVar

from app.evaluation.operations import example_graphs as graphs
from app.evaluation.operations.operation import Operation, example
from app.schemas.members import Name, Names, member
from app.schemas.replies import Matrices, Reply, Tensors
from app.schemas.requests import OUTPUT, WRT, Options
from engine import HessianRequest


class HessianMembers(Options):
    """A request for hessian."""

    words: ClassVar[str] = "a hessian request"

    output: Name = member(OUTPUT)
    wrt: Names = member(WRT)


class HessianReply(Reply):
    """The reply to hessian."""

    outputs: Tensors
    gradients: Tensors
    hessian: Matrices


_SPOTS = graphs.black_scholes([80, 90, 100, 110])

OPERATION = Operation(
    title="Hessian",
    summary="The second derivatives of a scalar",
    description=(
        "Return a scalar, its gradients, and its second derivatives: for each two inputs a tensor of the first one's "
        "shape followed by the second one's."
    ),
    members=HessianMembers,
    reply=HessianReply,
    kind=HessianRequest,
    place=5,
    called={"wrt": ["b"]},
    examples={
        "greeks": example("Gamma, vanna and vomma of a call option", graphs.black_scholes(), wrt=["spot", "sigma"]),
        "newton": example("What a step of Newton's method needs", graphs.LOGISTIC),
        "rosenbrock": example("A Hessian with three diagonals", graphs.rosenbrock(-1.2, 1, 0.5, 2)),
        "mapped": example("Gamma at several prices", _SPOTS, wrt=["spot"], vmap={"spot": 0}),
    },
)
