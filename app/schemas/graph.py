"""Models of a graph: tensors, and calls of ops in any order. Contract, section 2.

The models validate the `graph` member after the tensor values are removed from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, PlainValidator, TypeAdapter, ValidationInfo, WithJsonSchema, WrapValidator

from app.schemas.argument import Attributes, Inputs
from app.schemas.faults import MAX_FAULTS, Located, bounded, collect, fault, short, wrong_kind
from app.schemas.members import ClosedModel, Flag, Name, Text, member, read_name
from app.schemas.tensor import BareTensor, GraphDType, OpenTensor, Tensor, TensorForm
from engine import DType, OpCall


@dataclass(frozen=True, slots=True)
class GraphForm:
    """A graph without tensor values."""

    tensors: Mapping[str, TensorForm]
    ops: tuple[OpCall, ...]
    dtype: DType


def _output(value: Any) -> str | tuple[str | None, ...]:
    if type(value) is str:
        return read_name(value)
    if type(value) is not list:
        raise wrong_kind(value, "a name or a list of names")
    if all(name is None for name in value):
        raise fault("empty_list", "`output` names no result", "Name at least one result.")
    return tuple(collect(enumerate(value), lambda name: None if name is None else read_name(name)))


class GraphOp(ClosedModel):
    """One call of an op."""

    words: ClassVar[str] = "an op"

    op: Text = Field(description="the op's public name; GET /v1/ops lists them")
    inputs: Inputs = member(
        "its arguments, by position (a list) or by parameter name (an object): a string names a tensor or an op's "
        "output; a number, true or null is that literal; a list is a sequence of them",
        (),
    )
    attributes: Attributes = member("its keyword arguments that are not tensors", {})
    output: Annotated[str | tuple[str | None, ...], PlainValidator(_output), WithJsonSchema({})] = Field(
        description="the name of its result, or the names of its results"
    )
    no_grad: Flag = member("whether its results are constants for differentiation", default=False)

    def call(self) -> OpCall:
        """Return the call."""
        return OpCall(self.op, self.inputs, self.attributes, self.output, self.no_grad)


def _limited(limit: str, kind: Any, wanted: str) -> WrapValidator:
    """Return the validator of a list or an object. The validation context gives the maximum number of items."""
    within = bounded(kind, wanted)

    def check(value: Any, handler: Callable[[Any], Any], info: ValidationInfo) -> Any:
        most = (info.context or {}).get(limit)
        if type(value) is kind and most is not None and len(value) > most:
            what = limit.removeprefix("max_")
            hint = f"The server takes at most {most}; GET /v1/limits lists its limits."
            raise fault(f"too_many_{what}", f"the graph has {len(value)} {what}", hint)
        return within(value, handler)

    return WrapValidator(check)


_Ops = Annotated[
    list[Annotated[GraphOp, AfterValidator(GraphOp.call)]],
    AfterValidator(tuple),
    _limited("max_ops", list, "a list of ops"),
]
_TENSORS = _limited("max_tensors", dict, "an object, name to value")


class Graph(ClosedModel):
    """A computation: tensors, and calls of ops. The names of tensors and outputs are distinct."""

    words: ClassVar[str] = "a graph"

    dtype: GraphDType = Field("float64", validate_default=True, description="the default dtype of tensors")
    tensors: Annotated[dict[Name, Tensor], _TENSORS] = Field(description="the leaves, by name")
    ops: _Ops = member("the calls, in any order", ())

    @classmethod
    def noted(cls, value: dict[str, Any]) -> list[Located]:
        """Return unknown members, missing members, and duplicate names."""
        return [*super().noted(value), *islice(_repeated(value), MAX_FAULTS)]

    def form(self) -> GraphForm:
        """Return the graph without tensor values."""
        calls: Any = self.ops
        return GraphForm(self.tensors, calls, self.dtype)


class GraphType(Graph):
    """A graph whose tensors may have a shape and a dtype without values."""

    words: ClassVar[str] = "a graph whose tensors may lack values"

    tensors: Annotated[dict[Name, BareTensor], _TENSORS] = Field(description="the leaves, by name")


class OpenGraph(Graph):
    """A graph whose tensors may have a shape and a dtype without values. A null in a shape means any size."""

    words: ClassVar[str] = "a graph whose tensors may lack values and sizes"

    tensors: Annotated[dict[Name, OpenTensor], _TENSORS] = Field(description="the leaves, by name")


OPEN_GRAPH: TypeAdapter[Any] = TypeAdapter(Annotated[OpenGraph, AfterValidator(Graph.form)])


def _repeated(graph: dict[str, Any]) -> Iterator[Located]:
    """Yield an error for each duplicate name. Only names are read, so the rest of the graph may be invalid."""
    tensors = graph.get("tensors")
    seen = set(tensors) if type(tensors) is dict else set()
    for name, at in _outputs(graph.get("ops")):
        if name in seen:
            hint = "Names of tensors and of outputs share one space; rename one."
            yield at, fault("duplicate_name", f"the name {short(name)} is taken", hint)
        seen.add(name)


def _outputs(ops: Any) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    for index, op in enumerate(ops if type(ops) is list else ()):
        output = op.get("output") if type(op) is dict else None
        if type(output) is str:
            yield output, ("ops", index, "output")
        elif type(output) is list:
            yield from ((name, ("ops", index, "output", at)) for at, name in enumerate(output) if type(name) is str)
