"""POST /v1/explain: the plan of a request and its cost. Nothing runs."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, Field

from app.evaluation.operations import example_graphs as graphs
from app.evaluation.operations.operation import Operation, example
from app.evaluation.plans import explain
from app.schemas.graph import GraphType
from app.schemas.members import Flag, Name, by_name, member
from app.schemas.replies import Reply, Shape
from app.schemas.requests import ROOTS, BareRoots, Differentiated
from app.schemas.tensor import BareHeldTensor
from engine import GradientRequest


class ExplainedCost(BaseModel):
    """Floating-point operations, and bytes."""

    flops: int
    bytes_read: int
    bytes_written: int
    peak_bytes: int


class Slot(BaseModel):
    """A tensor that a step reads or writes."""

    slot: int
    dtype: str
    shape: Shape


class Step(BaseModel):
    """A step that would run."""

    primitives: list[str]
    ops: list[str]
    pass_: Literal["forward", "backward"] = Field(alias="pass")
    cluster: bool
    reads: list[Slot]
    writes: list[Slot]
    frees: list[int]
    flops: int
    bytes_read: int
    bytes_written: int
    held_bytes: int


class ExplainedPass(BaseModel):
    """Steps that run one after the other, as often as `runs` says."""

    results: list[list[str]]
    runs: int
    slots: int
    steps: list[Step]


class ExplainedPlan(BaseModel):
    """All that would run."""

    sweeps: list[ExplainedPass]
    clusters: int


class KeptTensor(BaseModel):
    """A value that is kept for the way back."""

    name: str | None
    op: str | None
    dtype: str
    shape: Shape
    bytes: int
    needed_by: list[str]


class JacobianPasses(BaseModel):
    """The passes that a Jacobian would take."""

    mode: str
    passes: int
    without_colouring: int
    saved: int


class Mapped(BaseModel):
    """The mapped axis, and the ops that run in a loop over it."""

    size: int | None
    loops: list[str]


class Needed(BaseModel):
    """A limit, and what the request needs of it."""

    needed: int
    limit: int
    headroom: int


BareDirections = Annotated[dict[Name, BareHeldTensor], by_name()]


class ExplainMembers(Differentiated):
    """A request for explain."""

    words: ClassVar[str] = "an explain request"

    backward: BareRoots = member(ROOTS)
    accumulate: BareDirections = member("gradients that the new ones are added to", {})
    dag: Flag = member("whether to return the DAG", default=True)


class ExplainReply(Reply):
    """The reply to explain."""

    plan: ExplainedPlan
    cost: dict[str, ExplainedCost]
    kept: list[KeptTensor]
    passes: JacobianPasses | None
    vmap: Mapped
    limits: dict[str, Needed]
    warnings: list[str]


_ALL = {"x": 0, "y": 0}

OPERATION = Operation(
    title="Explain",
    summary="What a request would do, without doing it",
    description=(
        "Take a request for gradients and return its DAG, the steps that would run with their operations and bytes, "
        "what is kept for the way back, and the limits. Tensors may have `shape` and `dtype` and no `data`."
    ),
    members=ExplainMembers,
    reply=ExplainReply,
    kind=GradientRequest,
    graph=GraphType,
    plan=explain,
    warns=True,
    place=8,
    examples={
        "shapes": example("What training a network of this shape would take", graphs.CLASSIFIER),
        "checkpoint": example(
            "What a checkpoint saves, and what it costs", graphs.CLASSIFIER, checkpoint=["active"], dag=False
        ),
        "mapped": example("Per-sample gradients", graphs.BATCH, vmap=_ALL),
    },
)
