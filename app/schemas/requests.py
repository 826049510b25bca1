"""Members common to all requests, and the request models. Contract, sections 3, 5 and 6.

Each operation has a model of its own members, a subclass of `Options`. `request_of` adds `graph` to the model.
`call_of` adds `tensors` instead, for the call of a registered graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    create_model,
)
from pydantic_core import PydanticCustomError

from app.schemas.faults import Located, collect, fault, invalid, located, short, wrong_kind
from app.schemas.graph import Graph, GraphType, OpenGraph
from app.schemas.members import CHOICE, ClosedModel, Flag, Name, Names, SomeNames, by_name, member, read_name, whole
from app.schemas.tensor import (
    BareHeldTensor,
    BareTensor,
    HeldTensor,
    Tensor,
    TensorForm,
)
from engine import Path

SECTIONS: Mapping[str, Path] = {
    "tensors": ("graph", "tensors"),
    "backward": ("backward",),
    "accumulate": ("accumulate",),
    "tangents": ("tangents",),
    "vectors": ("vectors",),
}
"""The objects of a request that contain tensors, and their paths."""


VOLATILE = frozenset({"dag", "encoding", "seed", "timeout_ms"})
"""Members that do not change the plan; requests that differ only in them use the same plan."""


class Options(ClosedModel):
    """The members common to all calls."""

    words: ClassVar[str] = "a request"

    dag: Flag = member("whether to return the DAG", default=False)
    vmap: Annotated[dict[Name, Annotated[int, whole(-(2**31), 2**31 - 1)]], by_name()] = member(
        "name to axis: the computation runs once per index of it", {}
    )
    randomness: Annotated[Literal["different", "same"], CHOICE] = member(
        "whether random ops draw anew for each index of the mapped axis", "different"
    )
    checkpoint: Names = member("results between which the backward pass recomputes values instead of storing them", ())
    detect_anomaly: Flag = member("whether to fail where a value or a gradient stops being finite", default=False)
    encoding: Annotated[Literal["json", "base64"], CHOICE] = member(
        "how tensors' data are written in the reply", "json"
    )
    seed: Annotated[int, whole(0, 2**63 - 1)] = member("the seed of random ops", 0)
    timeout_ms: Annotated[int, whole(1, 2**53)] = member("this request's deadline, at most the server's")


Directions = Annotated[dict[Name, HeldTensor], by_name()]
"""An object from names to tensors. A tensor has the shape of the tensor with its name."""

WRT = "names to differentiate by; by default every leaf with `requires_grad`"
OUTPUT = "the scalar to differentiate; by default the one output that no op consumes"


def _roots(seeds: Callable[[Any], dict[str, TensorForm | None]]) -> PlainValidator:
    """Return the validator of roots: a name, a list of names, or an object from name to seed. None means ones."""

    def check(value: Any) -> dict[str, TensorForm | None]:
        if type(value) is str:
            return {read_name(value): None}
        if type(value) is list:
            return dict.fromkeys(_SOME_NAMES.validate_python(value))
        if type(value) is not dict:
            raise wrong_kind(value, "a name, a list of names, or an object: name to seed")
        if not value:
            raise fault("empty_list", "`backward` names no root", "Name at least one root, or leave the member out.")
        return seeds(value)

    return PlainValidator(check)


_SOME_NAMES: TypeAdapter[Any] = TypeAdapter(SomeNames)
_SEEDS: TypeAdapter[dict[str, TensorForm | None]] = TypeAdapter(Annotated[dict[Name, HeldTensor | None], by_name()])
_BARE_SEEDS: TypeAdapter[dict[str, TensorForm | None]] = TypeAdapter(
    Annotated[dict[Name, BareHeldTensor | None], by_name()]
)
ROOTS = "the roots: a name, a list of names, or an object: name to seed; by default the one output that no op consumes"
_UNTYPED = WithJsonSchema({"description": ROOTS})
Roots = Annotated[dict[str, TensorForm | None], _roots(_SEEDS.validate_python), _UNTYPED]
BareRoots = Annotated[dict[str, TensorForm | None], _roots(_BARE_SEEDS.validate_python), _UNTYPED]


class Differentiated(Options):
    """The members of a request for gradients."""

    backward: Roots = member(ROOTS)
    wrt: Names = member("names to return gradients for; by default every leaf with `requires_grad`")
    outputs: Names = member("names to return values of; by default every output that no op consumes")
    accumulate: Directions = member("gradients that the new ones are added to", {})
    unreached: Annotated[Literal["null", "zeros", "error"], CHOICE] = member(
        "the gradient of a `wrt` on which no root depends", "null"
    )


class RegistrationRequest(ClosedModel):
    """A request to register a graph."""

    words: ClassVar[str] = "a registration"

    graph: Annotated[OpenGraph, AfterValidator(Graph.form)] = Field(
        description="the computation; tensors may lack values"
    )


def request_of(name: str, members: type[Options], graph: type[Graph]) -> type[ClosedModel]:
    """Return the model of a request that contains its graph."""
    read: Any = Annotated[graph, AfterValidator(Graph.form)]
    return _model(f"{name}Request", members, {"graph": (read, Field(description="the computation"))})


def call_of(name: str, members: type[Options], graph: type[Graph]) -> type[ClosedModel]:
    """Return the model of a call of a registered graph, with `tensors` in place of `graph`."""
    bare = issubclass(graph, GraphType)
    meaning = "values of the graph's tensors; by default those that are registered"
    tensors = Field(default_factory=dict, validate_default=True, description=meaning)
    return _model(f"{name}Call", members, {"tensors": (_sent(bare=bare), tensors)})


def _model(name: str, members: type[Options], first: dict[str, Any]) -> type[ClosedModel]:
    """Return a model with the members in this order: `first`, the operation's own, then the common members."""
    own = [known for known in members.model_fields if known not in Options.model_fields]
    fields = {known: members.model_fields[known] for known in [*own, *Options.model_fields]}
    typed: dict[str, Any] = {known: (info.annotation, info) for known, info in fields.items()}
    return create_model(
        name, __base__=_Call, __doc__=members.__doc__, **first, **typed, words=(ClassVar[str], members.words)
    )


class _Call(ClosedModel):
    """The base class of request models."""

    words: ClassVar[str] = "a request"


def _sent(*, bare: bool) -> Any:
    """Return the type of the tensors in a call of a registered graph.

    The registered graph gives their dtype and `requires_grad`. `registered` in the validation context contains the
    tensors of the graph. A tensor may be left out if the graph has its values. If tensors may be `bare`, a type without
    values is enough.
    """
    read = _BARE_TENSOR.validate_python if bare else _TENSOR.validate_python

    def tensor(name: str, given: Any, known: TensorForm | None, registered: Mapping[str, TensorForm]) -> TensorForm:
        if known is None:
            detail = f"the registered graph has no tensor {short(name)}"
            raise fault("unknown_tensor", detail, "GET the graph to see its tensors.", given=name, known=registered)
        form = read(given)
        if form.dtype not in {None, known.dtype}:
            raise invalid([_differs("dtype", form.dtype, known.dtype)], given)
        if type(given) is dict and "requires_grad" in given and form.requires_grad != known.requires_grad:
            raise invalid([_differs("requires_grad", form.requires_grad, known.requires_grad)], given)
        return replace(form, dtype=known.dtype, requires_grad=known.requires_grad)

    def check(value: Any, info: ValidationInfo) -> dict[str, TensorForm]:
        if type(value) is not dict:
            raise wrong_kind(value, "an object, name to tensor")
        registered: Mapping[str, TensorForm] = (info.context or {}).get("registered", {})
        missing: list[Located] = [
            ((name,), _missing(name, form))
            for name, form in registered.items()
            if name not in value and form.typed and not (bare and form.shape is not None)
        ]
        try:
            names = [(name, (name, given)) for name, given in value.items()]
            found = collect(names, lambda item: tensor(item[0], item[1], registered.get(item[0]), registered))
        except ValidationError as error:
            raise invalid([*located(error), *missing], value) from None
        if missing:
            raise invalid(missing, value)
        return dict(zip(value, found, strict=True))

    schema = WithJsonSchema({"type": "object", "additionalProperties": {}})
    return Annotated[dict[str, TensorForm], PlainValidator(check), schema]


_TENSOR: TypeAdapter[TensorForm] = TypeAdapter(Tensor)
_BARE_TENSOR: TypeAdapter[TensorForm] = TypeAdapter(BareTensor)


def _differs(name: str, given: Any, known: Any) -> Located:
    detail = f"`{name}` is {_spelled(given)}, and this tensor is registered with {_spelled(known)}"
    code: Any = f"{name}_mismatch"
    return (name,), fault(code, detail, f"Leave `{name}` out, or register another graph.")


def _missing(name: str, form: TensorForm) -> PydanticCustomError:
    detail = f"{short(name)} is registered without values, and this call gives none"
    return fault("missing_value", detail, f"Give it: {form.dtype} of shape {spelled_shape(form)}.")


def _spelled(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def spelled_shape(form: TensorForm) -> str:
    """Return a registered tensor's shape as JSON: null for a dimension of any size."""
    shape = form.shape if form.pattern is None else form.pattern
    return f"[{', '.join('null' if size is None else str(size) for size in shape or ())}]"
