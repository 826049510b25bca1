"""What the API's description (OpenAPI) says of requests, replies and problems.

Schemas of requests come from the tables that requests are read with, so that they cannot say something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from app.schemas.argument import ARGUMENT
from app.schemas.called import called
from app.schemas.graph import GRAPH, GRAPH_TYPE, OP, OPEN_GRAPH
from app.schemas.readers import Schema
from app.schemas.record import Record
from app.schemas.requests import CHECK, EXPLAIN, FORWARD, GRADIENTS, HESSIAN, HVP, JACOBIAN, JVP, REGISTRATION
from app.schemas.tensor import OPEN_TENSOR, TENSOR, TENSOR_TYPE, VALUES
from engine.checked import METHODS
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
_NAME_OR_NULL: Schema = {"type": ["string", "null"]}
_FLAG: Schema = {"type": "boolean"}
_COUNT: Schema = {"type": "integer"}
_SHAPE = _list(_COUNT)
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

_KEPT_AS: dict[str, Schema] = {"id": _STRING, "created": {"type": "string", "format": "date-time"}, "needs": _STRINGS}
REGISTRATION_REQUEST = REGISTRATION.schema()
REGISTRATION_REPLY = _object(_KEPT_AS)
REGISTERED = _object({**_KEPT_AS, "graph": _ref("OpenGraph")})

_TENSORS = _map(_ref("Result"))
_MATRICES = _map(_TENSORS)
_GRADIENTS = _map({"anyOf": [_ref("Result"), _NULL]})

_TYPE: dict[str, Schema] = {"dtype": _STRING, "shape": _SHAPE}
_WORK: dict[str, Schema] = {"flops": _COUNT, "bytes_read": _COUNT, "bytes_written": _COUNT}
_SLOTS = _list(_object({"slot": _COUNT, **_TYPE}))
_STEP = _object(
    {
        "primitives": _STRINGS,
        "ops": _STRINGS,
        "pass": {"type": "string", "enum": ["forward", "backward"]},
        "cluster": _FLAG,
        "reads": _SLOTS,
        "writes": _SLOTS,
        "frees": _list(_COUNT),
        **_WORK,
        "held_bytes": _COUNT,
    }
)
_SWEEP = _object({"results": _list(_STRINGS), "runs": _COUNT, "slots": _COUNT, "steps": _list(_ref("Step"))})
_KEPT = _object({"name": _NAME_OR_NULL, "op": _NAME_OR_NULL, **_TYPE, "bytes": _COUNT, "needed_by": _STRINGS})
_PASSES = _object({"mode": _STRING, "passes": _COUNT, "without_colouring": _COUNT, "saved": _COUNT})
_REAL: Schema = {"anyOf": [{"type": "number"}, {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}]}
_COMPARED = ("difference", "gradient", "numeric")
_SLOPES: dict[str, Schema] = {"index": _SHAPE, "gradient": _REAL}
_WORST = {"anyOf": [_object({"difference": _REAL, **_SLOPES, "numeric": _REAL}), _NULL]}
_INPUT = _object(
    {
        "passed": _FLAG,
        "method": {"type": "string", "enum": list(METHODS)},
        **dict.fromkeys(("elements", "checked", "failed", "kinks", "unresolved"), _COUNT),
        "largest_absolute": _WORST,
        "largest_relative": _WORST,
        "at_kinks": _list(_object({**_SLOPES, "left": _REAL, "right": _REAL})),
        "direction": {"anyOf": [_object({"passed": _FLAG, **dict.fromkeys(_COMPARED, _REAL)}), _NULL]},
    }
)
_PRODUCT = _object({"passed": _FLAG, "tangent": _REAL, "cotangent": _REAL, "difference": _REAL})
_COMPARISON: dict[str, Schema] = {
    "passed": _FLAG,
    "finite": _FLAG,
    "inputs": _map(_INPUT),
    "dot_product": _PRODUCT,
    "warnings": _STRINGS,
}
_EXPLANATION: dict[str, Schema] = {
    "plan": _object({"sweeps": _list(_SWEEP), "clusters": _COUNT}),
    "cost": _map(_object({**_WORK, "peak_bytes": _COUNT})),
    "kept": _list(_KEPT),
    "passes": {"anyOf": [_PASSES, _NULL]},
    "vmap": _object({"size": {"type": ["integer", "null"]}, "loops": _STRINGS}),
    "limits": _map(_object({"needed": _COUNT, "limit": _COUNT, "headroom": _COUNT})),
    "warnings": _STRINGS,
}


@dataclass(frozen=True, slots=True)
class Call:
    """What the description says of a derivative's resources. `members` are those of the reply besides the DAG."""

    name: str
    summary: str
    description: str
    record: Record
    members: Mapping[str, Schema]

    @property
    def request(self) -> Schema:
        """The request's schema."""
        return _ref(f"{self.name}Request")

    @property
    def call(self) -> Schema:
        """The schema of a call of a registered graph."""
        return _ref(f"{self.name}Call")

    @property
    def reply(self) -> Schema:
        """The reply's schema."""
        return _ref(f"{self.name}Reply")

    def components(self) -> dict[str, Schema]:
        """Return what the two schemas lead to."""
        reply = _object({**self.members, "dag": _ref("DAG")}, optional=("dag",))
        return {
            f"{self.name}Request": self.record.schema(),
            f"{self.name}Call": called(self.record).schema(),
            f"{self.name}Reply": reply,
        }


CALLS: Mapping[str, Call] = {
    "gradients": Call(
        "Gradients",
        "Outputs, gradients and the DAG",
        "Run a graph and differentiate its roots, as PyTorch's `backward()` does. With `vmap`, for each sample.",
        GRADIENTS,
        {"outputs": _TENSORS, "gradients": _GRADIENTS, "warnings": _STRINGS},
    ),
    "forward": Call("Forward", "Outputs alone", "Run a graph and record nothing.", FORWARD, {"outputs": _TENSORS}),
    "jvp": Call(
        "Jvp",
        "Tangents: how outputs change in a direction",
        "Multiply the Jacobian with a direction in one forward pass, as `torch.func.jvp` does. What the direction "
        "leaves out stands still; an output that does not depend on the rest has zeros.",
        JVP,
        {"outputs": _TENSORS, "tangents": _TENSORS},
    ),
    "jacobian": Call(
        "Jacobian",
        "Every output by every input",
        "Return the derivative of every element of every output by every element of every input: for each output and "
        "each input a tensor of the output's shape followed by the input's.",
        JACOBIAN,
        {"outputs": _TENSORS, "jacobian": _MATRICES},
    ),
    "hessian": Call(
        "Hessian",
        "The second derivatives of a scalar",
        "Return a scalar, its gradients, and its second derivatives: for each two inputs a tensor of the first one's "
        "shape followed by the second one's.",
        HESSIAN,
        {"outputs": _TENSORS, "gradients": _TENSORS, "hessian": _MATRICES},
    ),
    "hvp": Call(
        "Hvp",
        "A Hessian times a vector",
        "Multiply the Hessian of a scalar with a vector, at the cost of a few gradients: no Hessian is made.",
        HVP,
        {"outputs": _TENSORS, "gradients": _TENSORS, "hvp": _TENSORS},
    ),
    "check": Call(
        "Check",
        "Are the gradients right?",
        "Hold gradients against differences of values. For each input: the largest absolute and relative difference, "
        "and where; kinks, at which the slopes on both sides differ. Besides, whether forward mode agrees.",
        CHECK,
        _COMPARISON,
    ),
    "explain": Call(
        "Explain",
        "What a request would do, without doing it",
        "Take a request for gradients and return its DAG, the steps that would run with their operations and bytes, "
        "what is kept for the way back, and the limits. Tensors may have `shape` and `dtype` and no `data`.",
        EXPLAIN,
        _EXPLANATION,
    ),
}

COMPONENTS: dict[str, Schema] = {
    "Values": VALUES,
    "Tensor": TENSOR,
    "TensorType": TENSOR_TYPE,
    "OpenTensor": OPEN_TENSOR,
    "Argument": ARGUMENT,
    "Op": OP,
    "Graph": GRAPH,
    "GraphType": GRAPH_TYPE,
    "OpenGraph": OPEN_GRAPH,
    "Result": _RESULT,
    "Node": _NODE,
    "DAG": _DAG,
    "Step": _STEP,
    **{name: schema for call in CALLS.values() for name, schema in call.components().items()},
    "Fault": _FAULT,
    "Problem": _PROBLEM,
}


def content(schema: Schema) -> dict[str, Any]:
    """Return the description of a JSON reply."""
    return {"description": "The reply.", "content": {"application/json": {"schema": schema}}}


def replies(schema: Schema) -> dict[str, Any]:
    """Return the description of a reply that is JSON or MessagePack, as the client accepts it."""
    return {"description": f"The reply. {_PACKED}", "content": {media: {"schema": schema} for media in _MEDIA}}


def bodies(schema: Schema, examples: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of a request's body that is JSON or MessagePack. The examples are those of JSON."""
    media = {name: {"schema": schema} for name in _MEDIA}
    media["application/json"]["examples"] = dict(examples)
    return {"description": _PACKED, "required": True, "content": media}


_MEDIA = ("application/json", "application/msgpack")
_PACKED = "In MessagePack the same members stand, and a tensor's `data` are its raw little-endian bytes."


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the descriptions of problem documents with these statuses."""
    media = {"application/problem+json": {"schema": _ref("Problem")}}
    return {status: {"description": HTTPStatus(status).phrase, "content": media} for status in statuses}
