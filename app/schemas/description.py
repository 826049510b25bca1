"""What the API's description (OpenAPI) says of requests, replies and problems.

Schemas of requests come from the tables that requests are read with, so that they cannot say something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from app.schemas.argument import ARGUMENT
from app.schemas.graph import GRAPH, OP
from app.schemas.readers import Schema
from app.schemas.requests import FORWARD, GRADIENTS
from app.schemas.tensor import TENSOR, VALUES
from engine.types import DTYPES


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(members: Mapping[str, Schema], optional: tuple[str, ...] = ()) -> Schema:
    required = [name for name in members if name not in optional]
    return {"type": "object", "properties": dict(members), "required": required}


def _map(item: Schema) -> Schema:
    return {"type": "object", "additionalProperties": item}


def _list(item: Schema) -> Schema:
    return {"type": "array", "items": item}


_STRING: Schema = {"type": "string"}
_STRINGS = _list(_STRING)
_SHAPE = _list({"type": "integer"})
_NULL: Schema = {"type": "null"}

_RESULT = _object({"dtype": {"type": "string", "enum": list(DTYPES)}, "shape": _SHAPE, "data": _ref("Values")})
_NODE = _object(
    {
        "name": _STRING,
        "outputs": _STRINGS,
        "op": {"type": ["string", "null"]},
        "inputs": {},
        "attributes": {"type": "object"},
        "shape": _SHAPE,
        "dtype": _STRING,
        "requires_grad": {"type": "boolean"},
        "is_leaf": {"type": "boolean"},
        "grad_fn": {"type": ["string", "null"]},
        "next_functions": _STRINGS,
    },
    optional=("outputs",),
)
_DAG = _object({"nodes": _list(_ref("Node")), "roots": _STRINGS})
_FAULT = _object(
    {
        "pointer": {"type": "string", "description": "JSON pointer to the member at fault, as a URI fragment"},
        "code": {"type": "string", "description": "the kind of fault"},
        "detail": {"type": "string", "description": "what is wrong"},
        "hint": {"type": "string", "description": "how to mend it"},
    }
)
_PROBLEM = _object(
    {
        "type": _STRING,
        "title": _STRING,
        "status": {"type": "integer"},
        "detail": _STRING,
        "code": _STRING,
        "request_id": {"type": ["string", "null"]},
        "errors": _list(_ref("Fault")),
    }
)

HEALTH = _object({"status": _STRING})
LIMITS = _map(_object({"value": {"type": "integer"}, "description": _STRING}))
_OP_LINE: dict[str, Schema] = {"name": _STRING, "family": _STRING, "signature": _STRING, "summary": _STRING}
OP_LIST = _object({"ops": _list(_object(_OP_LINE))})
OP_PAGE = _object(
    {
        **_OP_LINE,
        "doc": _STRING,
        "parameters": _list({"type": "object"}),
        "returns": _STRING,
        "example": {"type": "object"},
    }
)

COMPONENTS: dict[str, Schema] = {
    "Values": VALUES,
    "Tensor": TENSOR,
    "Argument": ARGUMENT,
    "Op": OP,
    "Graph": GRAPH,
    "GradientsRequest": GRADIENTS.schema(),
    "ForwardRequest": FORWARD.schema(),
    "Result": _RESULT,
    "Node": _NODE,
    "DAG": _DAG,
    "GradientsReply": _object(
        {
            "outputs": _map(_ref("Result")),
            "gradients": _map({"anyOf": [_ref("Result"), _NULL]}),
            "warnings": _STRINGS,
            "dag": _ref("DAG"),
        },
        optional=("dag",),
    ),
    "ForwardReply": _object({"outputs": _map(_ref("Result")), "dag": _ref("DAG")}, optional=("dag",)),
    "Fault": _FAULT,
    "Problem": _PROBLEM,
}


@dataclass(frozen=True, slots=True)
class Call:
    """What the description says of a derivative's resource."""

    summary: str
    description: str
    request: Schema
    reply: Schema


CALLS: Mapping[str, Call] = {
    "gradients": Call(
        "Outputs, gradients and the DAG",
        "Run a graph and differentiate its roots, as PyTorch's `backward()` does.",
        _ref("GradientsRequest"),
        _ref("GradientsReply"),
    ),
    "forward": Call(
        "Outputs alone",
        "Run a graph and record nothing.",
        _ref("ForwardRequest"),
        _ref("ForwardReply"),
    ),
}


def content(schema: Schema) -> dict[str, Any]:
    """Return the description of a JSON reply."""
    return {"description": "The reply.", "content": {"application/json": {"schema": schema}}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the descriptions of problem documents with these statuses."""
    media = {"application/problem+json": {"schema": _ref("Problem")}}
    return {status: {"description": HTTPStatus(status).phrase, "content": media} for status in statuses}
