"""Models of replies and problems for the OpenAPI description. The codecs encode the replies without these models."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

TensorName = str
Shape = list[int]


def left_out(doc: str) -> Any:
    """Return an optional member of a reply."""
    return Field(default_factory=lambda: None, description=doc)


class Result(BaseModel):
    """A tensor of a reply."""

    dtype: str
    shape: Shape
    data: Any = Field(
        description='numbers, nested as `shape` says, or base64 of the bytes; "NaN" and its like are strings'
    )


Tensors = dict[TensorName, Result]
Matrices = dict[TensorName, Tensors]
Gradients = dict[TensorName, Result | None]


class DagNode(BaseModel):
    """A tensor or the call of an op. Contract, section 4."""

    name: str
    outputs: list[str] = left_out("the names of its results, where it has several")
    op: str | None
    inputs: Any
    attributes: dict[str, Any]
    shape: Shape
    dtype: str
    requires_grad: bool
    is_leaf: bool
    grad_fn: str | None
    next_functions: list[str]


class DAG(BaseModel):
    """The graph as it ran: its nodes in order, and its roots."""

    nodes: list[DagNode]
    roots: list[str]


class Reply(BaseModel):
    """What all replies may have."""

    dag: DAG = left_out("the graph as it ran, where `dag` is true")


class ProblemFault(BaseModel):
    """One thing that is wrong with a request."""

    pointer: str = Field(description="JSON pointer to the member at fault, as a URI fragment")
    code: str = Field(description="the kind of fault")
    detail: str = Field(description="what is wrong")
    hint: str = Field(description="how to mend it")


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str | None
    errors: list[ProblemFault]


class Health(BaseModel):
    """Whether the service runs."""

    status: str


class Limit(BaseModel):
    """A limit of the server."""

    value: int
    description: str


class OpSummary(BaseModel):
    """An op in the list of all."""

    name: str
    family: str
    signature: str
    summary: str


class OpList(BaseModel):
    """All ops."""

    ops: list[OpSummary]


class OpPage(OpSummary):
    """An op's page."""

    doc: str
    parameters: list[dict[str, Any]]
    returns: str
    example: dict[str, Any]


class RegistrationReply(BaseModel):
    """The id of a registered graph, and the tensors that calls must send."""

    id: str
    created: str = Field(json_schema_extra={"format": "date-time"})
    needs: list[str]


class RegisteredGraph(RegistrationReply):
    """A registered graph, in its normal form."""

    graph: dict[str, Any]
