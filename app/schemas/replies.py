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
        description='nested lists of numbers in `shape`, or base64; "NaN", "Infinity" and "-Infinity" are strings'
    )


Tensors = dict[TensorName, Result]
Matrices = dict[TensorName, Tensors]
Gradients = dict[TensorName, Result | None]


class DagNode(BaseModel):
    """A tensor or the call of an op. Contract, section 4."""

    name: str
    outputs: list[str] = left_out("the names of its results, if it has several")
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
    """The serialized DAG: nodes in the order of execution, and the names of the roots."""

    nodes: list[DagNode]
    roots: list[str]


class Reply(BaseModel):
    """The members common to all replies."""

    dag: DAG = left_out("the serialized DAG, if `dag` is true")


class ProblemFault(BaseModel):
    """A fault of a request."""

    pointer: str = Field(description="JSON pointer to the member at fault, as a URI fragment")
    code: str = Field(description="the kind of fault")
    detail: str = Field(description="the fault in words")
    hint: str = Field(description="how to correct it")


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
    """The status of the service."""

    status: str


class Limit(BaseModel):
    """A limit of the server."""

    value: int
    description: str


class OpSummary(BaseModel):
    """An op in the list of all ops."""

    name: str
    family: str
    signature: str
    summary: str


class OpList(BaseModel):
    """All ops."""

    ops: list[OpSummary]


class OpPage(OpSummary):
    """The documentation of an op."""

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
