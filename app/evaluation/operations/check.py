"""POST /v1/check: comparison of gradients with differences of values."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel

from app.evaluation.operations import example_graphs as graphs
from app.evaluation.operations.example_graphs import graph, op, wanted
from app.evaluation.operations.operation import Operation, example
from app.evaluation.plans import check
from app.schemas.members import member, real
from app.schemas.replies import Reply, TensorName
from app.schemas.requests import Differentiated
from engine import METHODS, CheckRequest

Real = float | Literal["NaN", "Infinity", "-Infinity"]


class Worst(BaseModel):
    """The element at which a gradient and a difference are furthest apart."""

    difference: Real
    index: list[int]
    gradient: Real
    numeric: Real


class Kink(BaseModel):
    """An element at which the slopes on both sides differ."""

    index: list[int]
    gradient: Real
    left: Real
    right: Real


class Direction(BaseModel):
    """The comparison along a random direction in all elements."""

    passed: bool
    difference: Real
    gradient: Real
    numeric: Real


class ComparedInput(BaseModel):
    """The comparison of one input's gradient."""

    passed: bool
    method: Literal[METHODS]  # type: ignore[valid-type]
    elements: int
    checked: int
    failed: int
    kinks: int
    unresolved: int
    largest_absolute: Worst | None
    largest_relative: Worst | None
    at_kinks: list[Kink]
    direction: Direction | None


class DotProduct(BaseModel):
    """Whether forward and reverse mode agree: one product of a Jacobian, from both sides."""

    passed: bool
    tangent: Real
    cotangent: Real
    difference: Real


class CheckMembers(Differentiated):
    """A request for a check."""

    words: ClassVar[str] = "a check request"

    eps: Annotated[float, real(positive=True)] = member(
        "the step of the differences; by default one that suits each element"
    )
    rtol: Annotated[float, real()] = member("how far apart two derivatives may be, as a part of the larger one", 1e-5)
    atol: Annotated[float, real()] = member("how far apart two derivatives may be besides", 1e-7)


class CheckReply(Reply):
    """The reply to check."""

    passed: bool
    finite: bool
    inputs: dict[TensorName, ComparedInput]
    dot_product: DotProduct
    warnings: list[str]


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

OPERATION = Operation(
    title="Check",
    summary="Are the gradients right?",
    description=(
        "Hold gradients against differences of values. For each input: the largest absolute and relative difference, "
        "and where; kinks, at which the slopes on both sides differ. Besides, whether forward mode agrees."
    ),
    members=CheckMembers,
    reply=CheckReply,
    kind=CheckRequest,
    plan=check,
    warns=True,
    place=7,
    examples={
        "tutorial": example("The gradients of a linear layer are right", graphs.TUTORIAL),
        "analytic": example(
            "An analytic function: complex steps show the gradients right to the last digits",
            graphs.TANH_LAYER,
            backward={"h": [1, 2, 3]},
        ),
        "kinks": example("At 0 the slopes of a rectifier differ: two kinks, and no failure", _RECTIFIER),
        "mapped": example("Per-sample gradients, for every sample", graphs.BATCH, vmap=_ALL),
        "masked": example(
            "A failure: the gradient of 1 / x at 0 is not finite, also where another branch is taken", _MASKED
        ),
        "tolerances": example(
            "The step and the tolerances, and the gradient of an intermediate result",
            graphs.TANH_LAYER,
            backward={"h": [1, 2, 3]},
            wrt=["x", "z"],
            eps=1e-3,
            rtol=1e-7,
            atol=1e-9,
        ),
    },
)
