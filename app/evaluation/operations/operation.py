"""An operation: its request and reply models, its texts, its examples, and the engine's request type.

Each module of `app.evaluation.operations` defines one operation. `app.evaluation.evaluator` runs all operations in the
same way. The routes describe them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property, lru_cache
from typing import Any

from pydantic import create_model

from app.evaluation.operations.example_graphs import Graph as ExampleGraph
from app.evaluation.plans import Planner, compute
from app.schemas.faults import read
from app.schemas.graph import Graph
from app.schemas.members import ClosedModel
from app.schemas.replies import Reply
from app.schemas.requests import SECTIONS, VOLATILE, Options, call_of, request_of
from engine import Leaf, Request

Members = Mapping[str, Any]
Leaves = Mapping[tuple[str, str], Leaf]
"""Types of the tensors of a request, by section and name."""

Example = dict[str, Any]


def example(summary: str, computation: ExampleGraph, **members: Any) -> Example:
    """Return an example of a request."""
    return {"summary": summary, "value": {"graph": computation, **members}}


@dataclass(frozen=True)
class Operation:
    """An operation of the service.

    `title` is the prefix of the names of its models. `members` is the model of the request without the graph. `kind` is
    the engine's request type; its fields have the names of the members. `plan` makes the plan. `warns` is True if the
    reply always has `warnings`. `called` contains the members, except tensors, of the example call of a registered
    graph. `place` is the position in lists of operations.
    """

    title: str
    summary: str
    description: str
    members: type[Options]
    reply: type[Reply]
    kind: type[Request]
    examples: Mapping[str, Example]
    called: Mapping[str, Any] = field(default_factory=dict)
    graph: type[Graph] = Graph
    plan: Planner = compute
    warns: bool = False
    place: int = 0

    @cached_property
    def request(self) -> type[ClosedModel]:
        """The model of a request that contains its graph."""
        return request_of(self.title, self.members, self.graph)

    @cached_property
    def call(self) -> type[ClosedModel]:
        """The model of a call of a registered graph."""
        return call_of(self.title, self.members, self.graph)

    @property
    def volatile(self) -> frozenset[str]:
        """The members that do not change the plan."""
        return VOLATILE

    def options(self, given: dict[str, Any]) -> Members:
        """Return the volatile members, including defaults. Raises InvalidRequest."""
        try:
            return _read_options(self._options, tuple(given.items()), tuple(map(type, given.values())))
        except TypeError:  # a value that is not hashable is not valid either
            return vars(read(self._options, given))

    @cached_property
    def _options(self) -> type[ClosedModel]:
        typed: dict[str, Any] = {
            name: (info.annotation, info) for name, info in self.members.model_fields.items() if name in VOLATILE
        }
        return create_model("Options", __base__=ClosedModel, **typed)

    def request_for(self, members: Members, leaves: Leaves) -> Request:
        """Return the engine's request, with types in place of tensors."""
        return self.kind(**{field.name: _typed(field.name, members, leaves) for field in fields(self.kind)})


@lru_cache(256)
def _read_options(model: type[ClosedModel], items: tuple[tuple[str, Any], ...], types: tuple[type, ...]) -> Members:  # noqa: ARG001
    """Return the validated options. `types` is part of the cache's key: 1, 1.0 and true are equal. Errors stay out."""
    return vars(read(model, dict(items)))


def _typed(name: str, members: Members, leaves: Leaves) -> Any:
    value = members[name]
    if name not in SECTIONS or value is None:
        return value
    return {key: leaves.get((name, key)) for key in value}
