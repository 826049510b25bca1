"""What the service computes: one entry for each kind of call, from its request's table to the engine's request.

`app.evaluate` drives them all in the same way. A new derivative is a table in `app.schemas.requests` and an entry here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from app.plans import Planner, check, compute, explain
from app.schemas.readers import Reading
from app.schemas.record import Record
from app.schemas.requests import CHECK, EXPLAIN, FORWARD, GRADIENTS, HESSIAN, HVP, JACOBIAN, JVP, SECTIONS
from engine.checked import CheckRequest
from engine.derivatives.forward import ForwardRequest
from engine.derivatives.gradients import GradientRequest
from engine.derivatives.hessian import HessianRequest
from engine.derivatives.hvp import ProductRequest
from engine.derivatives.jacobian import JacobianRequest
from engine.derivatives.jvp import TangentRequest
from engine.program import Leaf
from engine.requests import Request

Members = Mapping[str, Any]
Leaves = Mapping[tuple[str, str], Leaf]
"""Types of the tensors of a request, by section and name."""


@dataclass(frozen=True)
class Operation:
    """One kind of call.

    `record` reads the request's members, `kind` is the engine's request, whose fields have the members' names. `plan`
    makes what answers it. `warns` says whether the reply always has `warnings`.
    """

    record: Record
    kind: type[Request]
    plan: Planner = compute
    warns: bool = False

    @cached_property
    def volatile(self) -> frozenset[str]:
        """The members that change nothing about the plan."""
        return frozenset(name for name, member in self.record.members.items() if member.volatile)

    def options(self, given: Members, reading: Reading) -> Members:
        """Return the volatile members, defaults included. Raises Refused."""
        if not given:
            return self._defaults
        members = self.record.members
        named = {name: members[name].value(given, name, (), reading) for name in given}
        return {**self._defaults, **named}

    @cached_property
    def _defaults(self) -> dict[str, Any]:
        return {name: self.record.members[name].value({}, name, (), Reading(1, 1)) for name in self.volatile}

    def request(self, members: Members, leaves: Leaves) -> Request:
        """Return the engine's request, in which types stand for tensors."""
        return self.kind(**{field.name: _typed(field.name, members, leaves) for field in fields(self.kind)})


def _typed(name: str, members: Members, leaves: Leaves) -> Any:
    value = members[name]
    if name not in SECTIONS or value is None:
        return value
    return {key: leaves.get((name, key)) for key in value}


OPERATIONS: Mapping[str, Operation] = {
    "gradients": Operation(GRADIENTS, GradientRequest, warns=True),
    "forward": Operation(FORWARD, ForwardRequest),
    "jvp": Operation(JVP, TangentRequest),
    "jacobian": Operation(JACOBIAN, JacobianRequest),
    "hessian": Operation(HESSIAN, HessianRequest),
    "hvp": Operation(HVP, ProductRequest),
    "check": Operation(CHECK, CheckRequest, check, warns=True),
    "explain": Operation(EXPLAIN, GradientRequest, explain, warns=True),
}
